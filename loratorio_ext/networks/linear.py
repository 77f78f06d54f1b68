"""Low-rank deltas without a kernel: linear layers and 1 × 1 convolutions, a `baddbmm` pair for each block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from loratorio_ext.networks.delta import OutputSlice
from loratorio_ext.networks.plan import Block
from loratorio_ext.networks.stacks import Factors, Stack, repeat, stack_factors, tensor_bytes
from loratorio_ext.networks.updates import Ledger

Key = tuple[torch.dtype, torch.device, int]
"""dtype and device of the output, and its entries for each row."""


class _ProductUpdate(ABC):
    """Stacks the factors of every block once for each key, and adds a block's product to its rows."""

    def __init__(
        self,
        blocks: Sequence[tuple[Block, Sequence[Factors]]],
        output_slice: OutputSlice | None,
        ledger: Ledger,
    ) -> None:
        """blocks: each with the factors of its slots."""
        self._blocks = tuple(blocks)
        self._slice = output_slice
        self._ledger = ledger
        self._prepared: dict[Key, list[tuple[int, int, Tensor, Tensor]]] = {}

    def apply(self, module: nn.Module, x: Tensor, out: Tensor, per_row: int) -> None:
        """See `Update.apply`."""
        key = (out.dtype, out.device, per_row)
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = self._prepare(key)
        for start, count, down, up in prepared:
            source, target = x, out
            if count != out.shape[0]:
                source, target = x.narrow(0, start, count), out.narrow(0, start, count)
            self._add(source, target, down, up)

    def clear(self) -> None:
        """Drop the stacked copies."""
        self._prepared.clear()

    def _prepare(self, key: Key) -> list[tuple[int, int, Tensor, Tensor]]:
        dtype, device, per_row = key
        prepared = []
        for block, slots in self._blocks:
            down, up = self._factors(stack_factors(slots, 0, dtype, device), block.slot_rows * per_row)
            self._ledger.held += tensor_bytes(down, up)
            prepared.append((block.start * per_row, block.rows * per_row, down, up))
        self._prepared[key] = prepared
        return prepared

    @abstractmethod
    def _factors(self, stack: Stack, copies: int) -> tuple[Tensor, Tensor]:
        """The block's factors as `_add` takes them; copies: entries of dim 0 for each slot."""

    @abstractmethod
    def _add(self, x: Tensor, out: Tensor, down: Tensor, up: Tensor) -> None:
        """Add the block's product to the block's part of the output."""


class LinearUpdate(_ProductUpdate):
    """out[block] += (x[block] · downᵀ) · upᵀ, all slots of a block in one pair; channels are the last dim."""

    def _factors(self, stack: Stack, copies: int) -> tuple[Tensor, Tensor]:
        return stack.down.transpose(1, 2), stack.up.transpose(1, 2)

    def _add(self, x: Tensor, out: Tensor, down: Tensor, up: Tensor) -> None:
        slots = down.shape[0]
        hidden = torch.bmm(x.reshape(slots, -1, x.shape[-1]), down)
        target = out.view(slots, -1, out.shape[-1])
        if self._slice is not None:
            target = target.narrow(2, *self._slice)
        target.baddbmm_(hidden, up)


class PointwiseUpdate(_ProductUpdate):
    """The same for a 1 × 1 convolution, whose channels are dim 1: out[entry] += up · (down · x[entry])."""

    def _factors(self, stack: Stack, copies: int) -> tuple[Tensor, Tensor]:
        return repeat(stack.down, copies), repeat(stack.up, copies)

    def _add(self, x: Tensor, out: Tensor, down: Tensor, up: Tensor) -> None:
        entries = x.shape[0]
        hidden = torch.bmm(down, x.reshape(entries, x.shape[1], -1))
        target = out.view(entries, out.shape[1], -1)
        if self._slice is not None:
            target = target.narrow(1, *self._slice)
        target.baddbmm_(up, hidden)
