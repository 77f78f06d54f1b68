"""Low-rank deltas of convolutions with a kernel, stride, padding or groups (LoCon).

Every slot has weights of its own. A slot alone is one convolution. Several slots go, on a CPU, through one
grouped convolution (a group is a row) where that was measured to be faster than a loop over the slots
(python -m bench.convolutions): few rows in a slot and small ranks, padded to 8 or a multiple of 16,
because other widths of a group are about half as fast. Elsewhere (GPUs were not measured) they go through
the loop. The product with `up` is one `baddbmm` for all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from loratorio_ext.networks.router.delta import OutputSlice
from loratorio_ext.networks.router.low_rank import Blocks, stack_factors
from loratorio_ext.networks.router.update import Ledger, Update, lasting, repeat, tensor_bytes

GROUPED_ROWS = 4
"""Most entries of a slot for which one grouped convolution beats a loop over the slots on a CPU."""

GROUPED_RANK = 32
"""Largest rank for which it does."""


@dataclass(frozen=True)
class Geometry:
    """How a convolution moves its kernel; `pad` are `functional.pad`'s amounts where it must pad itself."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    pad: tuple[int, ...] | None
    pad_mode: str


def per_dim(value: object, dims: int) -> tuple[int, ...]:
    """One integer for each spatial dim, from an integer or a tuple."""
    if isinstance(value, int):
        return (value,) * dims
    if isinstance(value, (tuple, list)) and len(value) == dims:
        return tuple(int(part) for part in value)
    raise ValueError(f"a convolution of {dims} dims has {value!r} where an integer for each dim is needed")


def geometry_of(module: nn.Module, kernel: Sequence[int]) -> Geometry:
    """Read at every call: hosts change `padding_mode` at run time (A1111's tiling sets 'circular')."""
    dims = len(kernel)
    dilation = per_dim(getattr(module, "dilation", 1), dims)
    padding = getattr(module, "padding", 0)
    mode = str(getattr(module, "padding_mode", "zeros"))
    if padding == "valid":
        padding = 0
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        sides = [(total // 2, total - total // 2) for total in totals]
    else:
        sides = [(side, side) for side in per_dim(padding, dims)]
    symmetric = all(left == right for left, right in sides)
    pad = None
    if mode != "zeros" or not symmetric:
        pad = tuple(amount for left_right in reversed(sides) for amount in left_right)
    return Geometry(
        stride=per_dim(getattr(module, "stride", 1), dims),
        padding=tuple(left for left, _ in sides) if pad is None else (0,) * dims,
        dilation=dilation,
        groups=int(getattr(module, "groups", 1)),
        pad=pad,
        pad_mode="constant" if mode == "zeros" else mode,
    )


def convolve(x: Tensor, weight: Tensor, geometry: Geometry, groups: int) -> Tensor:
    """Convolution of 1 to 3 dims without bias, on input that is padded already where the geometry asks so."""
    function = (functional.conv1d, functional.conv2d, functional.conv3d)[weight.dim() - 3]
    return function(x, weight, None, geometry.stride, geometry.padding, geometry.dilation, groups)


def padded(x: Tensor, geometry: Geometry) -> Tensor:
    """The input [n, channels, *spatial], padded where the convolution itself cannot."""
    return x if geometry.pad is None else functional.pad(x, geometry.pad, mode=geometry.pad_mode)


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A block's tensors: inner (pointwise product before the kernel) or None, kernel, up; by entry."""

    start: int
    count: int
    inner: Tensor | None
    kernel: Tensor
    up: Tensor


class ConvolutionUpdate(Update[list[_Prepared]]):
    """out[row] += up · convolve(x[row], down), or up · convolve(down · x[row], mid)."""

    def __init__(self, blocks: Blocks, output_slice: OutputSlice | None, dims: int, ledger: Ledger) -> None:
        """blocks: all factors have a mid, or none has. dims: of the kernel."""
        super().__init__(ledger)
        self._blocks = tuple(blocks)
        self._slice = output_slice
        self._dims = dims

    def apply(self, module: nn.Module, x: Tensor, out: Tensor, per_row: int) -> None:
        """Add to `out`, whose channels are dim 1."""
        groups = int(getattr(module, "groups", 1))
        key = (out.dtype, out.device, per_row, groups)
        kept = self._kept.get(key)
        if kept is None:
            kept = self._prepare(*key)
        geometry = geometry_of(module, kept[0].kernel.shape[3:])
        for part in kept:
            source, target = x, out
            if part.count != out.shape[0]:
                source, target = x.narrow(0, part.start, part.count), out.narrow(0, part.start, part.count)
            hidden = padded(source, geometry)
            if part.inner is not None:
                flat = hidden.reshape(part.inner.shape[0], part.inner.shape[2], -1)
                hidden = torch.bmm(part.inner, flat).view(part.count, -1, *hidden.shape[2:])
            hidden = _convolve_rows(hidden, part.kernel, geometry)
            target = target.view(part.up.shape[0], out.shape[1] // groups, -1)
            if self._slice is not None:
                target = target.narrow(1, *self._slice)
            target.baddbmm_(part.up, hidden.reshape(part.up.shape[0], part.up.shape[2], -1))

    def _prepare(
        self, dtype: torch.dtype, device: torch.device, per_row: int, groups: int
    ) -> list[_Prepared]:
        """Weights by entry, those of the kernel [weights, groups · rank, in / groups, *kernel]."""
        prepared = []
        for block, slots in self._blocks:
            stack = stack_factors(slots, self._dims, dtype, device)
            copies = block.slot_rows * per_row
            kernel, inner = (stack.down, None) if stack.mid is None else (stack.mid, stack.down)
            up = stack.up
            rank = padded_rank(up.shape[2])
            by_row = (
                device.type == "cpu" and len(slots) > 1 and copies <= GROUPED_ROWS and rank <= GROUPED_RANK
            )
            if by_row:
                kernel, up = _pad_rank(kernel, 1, rank), _pad_rank(up, 2, rank)
            kernel = repeat(kernel, groups).reshape(len(slots), -1, *kernel.shape[2:])
            kernel = repeat(kernel, copies) if by_row else kernel
            inner = None if inner is None else repeat(inner, copies * groups)
            up = up.view(len(slots), groups, up.shape[1] // groups, up.shape[2])
            up = repeat(up, copies).flatten(0, 1)
            prepared.append(_Prepared(block.start * per_row, block.rows * per_row, inner, kernel, up))
        size = sum(tensor_bytes(one.kernel, one.inner, one.up) for one in prepared)
        return self._keep((dtype, device, per_row, groups), prepared, size)


def padded_rank(rank: int) -> int:
    """The width of a group that grouped convolutions on a CPU are fast at: 8, or a multiple of 16."""
    return 8 if rank <= 8 else -(-rank // 16) * 16


def _pad_rank(part: Tensor, dim: int, rank: int) -> Tensor:
    """The tensor with zeros up to `rank` along `dim`; nothing of the result changes by them."""
    shape = (*part.shape[:dim], rank - part.shape[dim], *part.shape[dim + 1 :])
    with lasting():
        return torch.cat([part, part.new_zeros(shape)], dim)


def _convolve_rows(x: Tensor, kernels: Tensor, geometry: Geometry) -> Tensor:
    """Input [n, channels, *spatial]; kernels [weights, out, in / groups, *kernel], n / weights each."""
    entries, weights = x.shape[0], kernels.shape[0]
    if weights == 1:
        return convolve(x, kernels[0], geometry, geometry.groups)
    if weights == entries:
        rows = x.reshape(1, entries * x.shape[1], *x.shape[2:])
        return convolve(rows, kernels.flatten(0, 1), geometry, entries * geometry.groups)
    pieces = x.split(entries // weights)
    return torch.cat([convolve(part, kernels[i], geometry, geometry.groups) for i, part in enumerate(pieces)])
