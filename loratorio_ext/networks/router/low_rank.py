"""Low-rank deltas: their factors, stacked for all networks of a layer, and the layers without a kernel.

The factors of a block's slots are cast, scaled, and zero-padded to one rank. Linear layers and 1 × 1
convolutions take a `baddbmm` pair for each block; convolution.py has those with a kernel.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from loratorio_ext.networks.router.delta import LowRank, OutputSlice, at_least_float32
from loratorio_ext.networks.router.plan import Block
from loratorio_ext.networks.router.update import Ledger, Update, lasting, repeat, tensor_bytes

Factors = Sequence[tuple[LowRank, float]]
"""The low-rank deltas of one slot with their strengths; their ranks are laid side by side."""

Blocks = Sequence[tuple[Block, Sequence[Factors]]]
"""Blocks of rows, each with the factors of its slots."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Factors of the slots of one block.

    down [slots, rank_in, in / groups, *kernel]; up [slots, out, rank_out], scaled by scale × strength;
    mid [slots, rank_out, rank_in, *kernel] or None (then rank_in = rank_out).
    """

    down: Tensor
    up: Tensor
    mid: Tensor | None


def stack_factors(slots: Sequence[Factors], dims: int, dtype: torch.dtype, device: torch.device) -> Stack:
    """Stack the slots' factors.

    All deltas of a call have the same input and output widths, kernel, and all or none of them a mid.
    dims: the layer's spatial dims (0: linear); without mid the kernel of `down` is given these dims.
    """
    first = slots[0][0][0]
    kernel = tuple((first.down if first.mid is None else first.mid).shape[2:])
    kernel = kernel if len(kernel) == dims else (1,) * dims
    rank_in = max(sum(delta.rank_in for delta, _ in slot) for slot in slots)
    rank_out = max(sum(delta.rank_out for delta, _ in slot) for slot in slots)
    width_in, width_out = first.down.shape[1], first.up.shape[0]
    down_kernel = kernel if first.mid is None else ()
    with lasting():
        down = torch.zeros(len(slots), rank_in, width_in, *down_kernel, dtype=dtype, device=device)
        up = torch.zeros(len(slots), width_out, rank_out, dtype=dtype, device=device)
        mid = None
        if first.mid is not None:
            mid = torch.zeros(len(slots), rank_out, rank_in, *kernel, dtype=dtype, device=device)
        for index, slot in enumerate(slots):
            a = b = 0
            for delta, strength in slot:
                a_end, b_end = a + delta.rank_in, b + delta.rank_out
                down[index, a:a_end] = (
                    delta.down.detach().reshape(-1, width_in, *down_kernel).to(device, dtype)
                )
                scaled = at_least_float32(delta.up).reshape(width_out, -1) * (delta.scale * strength)
                up[index, :, b:b_end] = scaled.to(device, dtype)
                if mid is not None and delta.mid is not None:
                    mid[index, b:b_end, a:a_end] = delta.mid.detach().to(device, dtype)
                a, b = a_end, b_end
    return Stack(down, up, mid)


class _ProductUpdate(Update[list[tuple[int, int, Tensor, Tensor]]]):
    """Stacks the factors of every block once for each key, and adds a block's product to its rows."""

    def __init__(self, blocks: Blocks, output_slice: OutputSlice | None, ledger: Ledger) -> None:
        super().__init__(ledger)
        self._blocks = tuple(blocks)
        self._slice = output_slice

    def apply(self, module: nn.Module, x: Tensor, out: Tensor, per_row: int) -> None:
        """Add to the rows of every block."""
        kept = self._kept.get((out.dtype, out.device, per_row))
        if kept is None:
            kept = self._prepare(out.dtype, out.device, per_row)
        for start, count, down, up in kept:
            source, target = x, out
            if count != out.shape[0]:
                source, target = x.narrow(0, start, count), out.narrow(0, start, count)
            self._add(source, target, down, up)

    def _prepare(
        self, dtype: torch.dtype, device: torch.device, per_row: int
    ) -> list[tuple[int, int, Tensor, Tensor]]:
        prepared = []
        for block, slots in self._blocks:
            down, up = self._factors(stack_factors(slots, 0, dtype, device), block.slot_rows * per_row)
            prepared.append((block.start * per_row, block.rows * per_row, down, up))
        size = sum(tensor_bytes(down, up) for _, _, down, up in prepared)
        return self._keep((dtype, device, per_row), prepared, size)

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
