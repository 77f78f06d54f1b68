"""Low-rank deltas: their factors, stacked for all networks of a layer, and the products with them.

The factors of a block's slots are cast, scaled, and zero-padded to one rank. Linear layers and 1 × 1
convolutions take a `bmm` and a `baddbmm` for each block.

Convolutions with a kernel, stride, padding or groups (LoCon) convolve with `down` first. A slot alone is one
convolution. Several slots go, on a CPU, through one grouped convolution (a group is a row) where that was
measured to be faster than a loop over the slots (python -m loratorio_lab.bench.convolutions): few rows in a
slot and small ranks, padded to 8 or a multiple of 16, because other widths of a group are about half as fast.
Elsewhere (GPUs were not measured) they go through the loop.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from loratorio_ext.networks.router.delta import LowRank
from loratorio_ext.networks.router.plan import Block, Terms, blocks_of
from loratorio_ext.networks.router.update import Prepared, Update, convolve, padded, upcast

GROUPED_ROWS = 4
"""Most entries of a slot for which one grouped convolution beats a loop over the slots on a CPU."""

GROUPED_RANK = 32
"""Largest rank for which it does."""


class _LowRankUpdate(Update[LowRank, Prepared]):
    """Stacks the segments whose ranks are alike."""

    def _grouped(self, segments: tuple[Block, ...]) -> tuple[Block, ...]:
        def rank_of(terms: Terms) -> int:
            return sum(max(delta.down.shape[0], delta.up.shape[1]) for delta, _ in self._acting(terms))

        return blocks_of(segments, rank_of)

    def _columns(self, block: Block) -> tuple[int, ...]:
        terms = block.slots[0]
        return tuple(i for i, _ in terms for delta in self._deltas[i] for _ in range(delta.up.shape[1]))

    def _factors(self, block: Block, dims: int, like: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The factors of the block's slots, stacked, in the dtype and on the device of `like`.

        All deltas have the same input and output widths, kernel, and all or none of them a mid; in a slot
        their ranks are laid side by side. dims: without mid the kernel of `down` is given as many dims.

        Returns down [slots, rank_in, in / groups, *kernel]; up [slots, out, rank_out], scaled by
        scale × strength; mid [slots, rank_out, rank_in, *kernel] or None (then rank_in = rank_out).
        """
        slots = [self._acting(terms) for terms in block.slots]
        first = slots[0][0][0]
        kernel = tuple((first.down if first.mid is None else first.mid).shape[2:])
        kernel = kernel if len(kernel) == dims else (1,) * dims
        rank_in = max(sum(delta.down.shape[0] for delta, _ in slot) for slot in slots)
        rank_out = max(sum(delta.up.shape[1] for delta, _ in slot) for slot in slots)
        width_in, width_out = first.down.shape[1], first.up.shape[0]
        down_kernel = kernel if first.mid is None else ()
        down = like.new_zeros(len(slots), rank_in, width_in, *down_kernel)
        up = like.new_zeros(len(slots), width_out, rank_out)
        mid = None if first.mid is None else like.new_zeros(len(slots), rank_out, rank_in, *kernel)
        for index, slot in enumerate(slots):
            a = b = 0
            for delta, strength in slot:
                a_end, b_end = a + delta.down.shape[0], b + delta.up.shape[1]
                down[index, a:a_end] = delta.down.reshape(-1, width_in, *down_kernel).to(like)
                scaled = upcast(delta.up).reshape(width_out, -1) * (delta.scale * strength)
                up[index, :, b:b_end] = scaled.to(like)
                if mid is not None and delta.mid is not None:
                    mid[index, b:b_end, a:a_end] = delta.mid.to(like)
                a, b = a_end, b_end
        return down, up, mid


class LinearUpdate(_LowRankUpdate[tuple[Tensor, Tensor]]):
    """out[block] += (x[block] · downᵀ) · upᵀ, all slots of a block in one pair; channels are the last dim."""

    def _prepare(self, block: Block, like: Tensor, per_row: int) -> tuple[Tensor, Tensor]:
        down, up, _ = self._factors(block, 0, like)
        return down.transpose(1, 2), up.transpose(1, 2)

    def _add(self, x: Tensor, out: Tensor, prepared: tuple[Tensor, Tensor], maps: Tensor | None) -> None:
        down, up = prepared
        slots = down.shape[0]
        hidden = torch.bmm(x.reshape(slots, -1, x.shape[-1]), down)
        if maps is not None:
            hidden.view(*x.shape[:-1], -1).mul_(maps)
        target = out.view(slots, -1, out.shape[-1])
        if self._slice is not None:
            target = target.narrow(2, *self._slice)
        target.baddbmm_(hidden, up)


class PointwiseUpdate(_LowRankUpdate[tuple[Tensor, Tensor]]):
    """The same for a 1 × 1 convolution, whose channels are dim 1: out[entry] += up · (down · x[entry])."""

    def _prepare(self, block: Block, like: Tensor, per_row: int) -> tuple[Tensor, Tensor]:
        down, up, _ = self._factors(block, 0, like)
        return repeat(down, block.slot_rows * per_row), repeat(up, block.slot_rows * per_row)

    def _add(self, x: Tensor, out: Tensor, prepared: tuple[Tensor, Tensor], maps: Tensor | None) -> None:
        down, up = prepared
        hidden = torch.bmm(down, x.reshape(x.shape[0], x.shape[1], -1))
        if maps is not None:
            hidden.mul_(maps.flatten(2))
        target = out.view(out.shape[0], out.shape[1], -1)
        if self._slice is not None:
            target = target.narrow(1, *self._slice)
        target.baddbmm_(up, hidden)


class ConvolutionUpdate(_LowRankUpdate[tuple[Tensor, Tensor, Tensor | None]]):
    """out[row] += up · convolve(x[row], down), or up · convolve(down · x[row], mid).

    All deltas have a mid, or none has.
    """

    def _prepare(self, block: Block, like: Tensor, per_row: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Kernels [weights, groups · rank, in / groups, *kernel], up, and the down before a mid or None."""
        down, up, mid = self._factors(block, self._dims, like)
        kernels, inner = (down, None) if mid is None else (mid, down)
        slots, copies, groups = len(block.slots), block.slot_rows * per_row, self._groups
        rank = padded_rank(up.shape[2])
        by_entry = slots > 1 and copies <= GROUPED_ROWS and rank <= GROUPED_RANK and like.device.type == "cpu"
        if by_entry:  # with zeros up to the rank; nothing of the result changes by them
            missing = (0, rank - up.shape[2])
            kernels = functional.pad(kernels, (0, 0) * (kernels.dim() - 2) + missing)
            up = functional.pad(up, missing)
        kernels = repeat(kernels, groups).reshape(slots, -1, *kernels.shape[2:])
        up = up.view(slots, groups, up.shape[1] // groups, up.shape[2])
        return (
            repeat(kernels, copies) if by_entry else kernels,
            repeat(up, copies).flatten(0, 1),
            None if inner is None else repeat(inner, copies * groups),
        )

    def _add(
        self, x: Tensor, out: Tensor, prepared: tuple[Tensor, Tensor, Tensor | None], maps: Tensor | None
    ) -> None:
        kernels, up, inner = prepared
        hidden, groups = padded(self._module, x), self._groups
        if inner is not None:
            flat = hidden.reshape(inner.shape[0], inner.shape[2], -1)
            hidden = torch.bmm(inner, flat).view(x.shape[0], -1, *hidden.shape[2:])
        weights, entries = kernels.shape[0], x.shape[0]
        if weights == 1:
            hidden = convolve(self._module, hidden, kernels[0], groups)
        elif weights == entries:
            rows = hidden.reshape(1, -1, *hidden.shape[2:])
            hidden = convolve(self._module, rows, kernels.flatten(0, 1), entries * groups)
        else:
            slots = zip(hidden.split(entries // weights), kernels, strict=True)
            hidden = torch.cat([convolve(self._module, rows, kernel, groups) for rows, kernel in slots])
        target = out.view(up.shape[0], out.shape[1] // groups, -1)
        if self._slice is not None:
            target = target.narrow(1, *self._slice)
        hidden = hidden.reshape(up.shape[0], up.shape[2], -1)
        if maps is not None:
            hidden = hidden * repeat(maps.flatten(2), groups)
        target.baddbmm_(up, hidden)


def padded_rank(rank: int) -> int:
    """The width of a group that grouped convolutions on a CPU are fast at: 8, or a multiple of 16."""
    return 8 if rank <= 8 else -(-rank // 16) * 16


def repeat(part: Tensor, copies: int) -> Tensor:
    """Every slot `copies` times in a row: [slots, ...] → [slots · copies, ...]."""
    return part if copies == 1 else part.repeat_interleave(copies, 0)
