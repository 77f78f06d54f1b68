"""Low-rank deltas without a kernel: linear layers and 1 × 1 convolutions, a `baddbmm` pair for each block."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from loratorio_ext.networks.delta import OutputSlice
from loratorio_ext.networks.plan import Block
from loratorio_ext.networks.rooms import Ledger
from loratorio_ext.networks.stacks import Factors, repeat, stack_factors, tensor_bytes

Key = tuple[torch.dtype, torch.device, int]


class LinearRoom:
    """out[block] += (x[block] · downᵀ) · upᵀ, all slots of a block in one pair of batched products."""

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
        self._prepared: dict[Key, list[tuple[int, int, int, Tensor, Tensor]]] = {}

    def apply(self, module: nn.Module, x: Tensor, out: Tensor, per_row: int) -> None:
        """See `Room.apply`; the last dim holds the channels."""
        key = (out.dtype, out.device, per_row)
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = self._prepare(key)
        entries, width = out.shape[0], out.shape[-1]
        for start, count, slots, down, up in prepared:
            source, target = x, out
            if count != entries:
                source, target = x.narrow(0, start, count), out.narrow(0, start, count)
            hidden = torch.bmm(source.reshape(slots, -1, x.shape[-1]), down)
            target = target.view(slots, -1, width)
            if self._slice is not None:
                target = target.narrow(2, *self._slice)
            target.baddbmm_(hidden, up)

    def clear(self) -> None:
        """Drop the stacked copies."""
        self._prepared.clear()

    def _prepare(self, key: Key) -> list[tuple[int, int, int, Tensor, Tensor]]:
        dtype, device, per_row = key
        prepared = []
        for block, slots in self._blocks:
            stack = stack_factors(slots, 0, dtype, device)
            self._ledger.held += tensor_bytes(stack.down, stack.up)
            down, up = stack.down.transpose(1, 2), stack.up.transpose(1, 2)
            prepared.append((block.start * per_row, block.rows * per_row, len(slots), down, up))
        self._prepared[key] = prepared
        return prepared


class PointwiseRoom:
    """The same for a 1 × 1 convolution whose channels are dim 1: out[row] += up · (down · x[row])."""

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
        """See `Room.apply`; dim 1 holds the channels."""
        key = (out.dtype, out.device, per_row)
        prepared = self._prepared.get(key)
        if prepared is None:
            prepared = self._prepare(key)
        for start, count, down, up in prepared:
            source, target = x, out
            if count != out.shape[0]:
                source, target = x.narrow(0, start, count), out.narrow(0, start, count)
            hidden = torch.bmm(down, source.reshape(count, x.shape[1], -1))
            target = target.view(count, out.shape[1], -1)
            if self._slice is not None:
                target = target.narrow(1, *self._slice)
            target.baddbmm_(up, hidden)

    def clear(self) -> None:
        """Drop the stacked copies."""
        self._prepared.clear()

    def _prepare(self, key: Key) -> list[tuple[int, int, Tensor, Tensor]]:
        dtype, device, per_row = key
        prepared = []
        for block, slots in self._blocks:
            stack = stack_factors(slots, 0, dtype, device)
            copies = block.slot_rows * per_row
            down, up = repeat(stack.down, copies), repeat(stack.up, copies)
            self._ledger.held += tensor_bytes(down, up)
            prepared.append((block.start * per_row, block.rows * per_row, down, up))
        self._prepared[key] = prepared
        return prepared
