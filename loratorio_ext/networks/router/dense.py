"""Dense differences: of a weight, of a bias, and of a normalisation's weight and bias."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from loratorio_ext.networks.router.convolution import convolve, geometry_of, padded
from loratorio_ext.networks.router.delta import Dense, OutputSlice, at_least_float32
from loratorio_ext.networks.router.fit import NormKind
from loratorio_ext.networks.router.plan import Segment
from loratorio_ext.networks.router.update import Ledger, Update, lasting, tensor_bytes

Strengths = Sequence[tuple[Dense, float]]
"""The dense deltas of one segment with their strengths."""

Segments = Sequence[tuple[Segment, Strengths]]
"""The segments of a table that dense deltas touch, in row order."""


class DenseUpdate(Update[Tensor]):
    """out[segment] += layer(x[segment]) with the segment's summed ΔW in place of the layer's weight.

    The sum is made when the layer runs and kept while the ledger has room, else made again at every call.
    """

    def __init__(
        self, segments: Segments, output_slice: OutputSlice | None, dims: int, ledger: Ledger
    ) -> None:
        """dims: spatial dims of the convolution, 0 for a linear layer."""
        super().__init__(ledger)
        self._segments = tuple(segments)
        self._slice = output_slice
        self._dims = dims

    def apply(self, module: nn.Module, x: Tensor, out: Tensor, per_row: int) -> None:
        """Add to the rows of every segment."""
        for index, (segment, parts) in enumerate(self._segments):
            key = (out.dtype, out.device, index)
            weight = self._kept.get(key)
            if weight is None:
                weight = self._weight(module, parts, out.dtype, out.device)
                size = tensor_bytes(weight)
                if self._ledger.has_room_for(size):
                    self._keep(key, weight, size)
            start, count = segment.start * per_row, segment.count * per_row
            source, target = x.narrow(0, start, count), out.narrow(0, start, count)
            if self._slice is not None:
                target = target.narrow(1 if self._dims else -1, *self._slice)
            if self._dims:
                geometry = geometry_of(module, weight.shape[2:])
                target.add_(convolve(padded(source, geometry), weight, geometry, geometry.groups))
            else:
                target.add_(torch.matmul(source, weight.t()))

    def _weight(
        self, module: nn.Module, parts: Strengths, dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        total: Tensor | None = None
        with lasting():
            for delta, strength in parts:
                given = delta.computed(module) if delta.computed is not None else delta.weight
                if given is None:
                    continue
                part = at_least_float32(given).to(device) * (delta.scale * strength)
                ones = (1,) * (self._dims + 2 - part.dim())
                part = part.reshape(*part.shape, *ones)
                total = part if total is None else total + part
            if total is None:
                raise ValueError("a dense update was given deltas without a weight")
            return total.to(dtype)


class TableUpdate(Update[tuple[Tensor | None, Tensor]]):
    """out += Δb[row] on the channels, and normalised(x) · Δw[row] where the layer is a normalisation.

    The tables hold every row's summed differences.
    """

    def __init__(
        self,
        norm: NormKind | None,
        channels_dim: int,
        segments: Segments,
        size: tuple[int, int],
        ledger: Ledger,
    ) -> None:
        """channels_dim: 1 or -1. size: rows of the model call, and channels."""
        super().__init__(ledger)
        self._norm = norm
        self._channels_last = channels_dim == -1
        self._segments = tuple(segments)
        self._size = size

    def apply(self, module: nn.Module, x: Tensor, out: Tensor, per_row: int) -> None:
        """Add to all rows; the tables are 0 where a row gets nothing."""
        kept = self._kept.get((out.dtype, out.device))
        if kept is None:
            kept = self._prepare(out.dtype, out.device)
        weight, bias = kept
        rows, width = self._size
        view = out.view(rows, -1, width) if self._channels_last else out.view(rows, per_row, width, -1)
        if weight is not None and self._norm is not None:
            view.addcmul_(normalise(self._norm, module, x, width).reshape(view.shape), weight)
        view.add_(bias)

    def _prepare(self, dtype: torch.dtype, device: torch.device) -> tuple[Tensor | None, Tensor]:
        """The tables, [rows, 1, channels] or [rows, 1, channels, 1]."""
        shape = (self._size[0], 1, self._size[1], *(() if self._channels_last else (1,)))
        with lasting():
            bias = bias_table(self._segments, *self._size).to(device, dtype).view(shape)
            weight = None
            if self._norm is not None:
                weight = weight_table(self._segments, *self._size).to(device, dtype).view(shape)
        return self._keep((dtype, device), (weight, bias), tensor_bytes(weight, bias))


def weight_table(segments: Segments, rows: int, width: int) -> Tensor:
    """Every row's summed Δw of a normalisation, [rows, width], float64; zeros where a row has none."""
    table = torch.zeros(rows, width, dtype=torch.float64)
    for segment, parts in segments:
        for delta, strength in parts:
            if delta.weight is not None:
                difference = at_least_float32(delta.weight).cpu() * (delta.scale * strength)
                table[segment.start : segment.start + segment.count] += difference
    return table


def bias_table(segments: Segments, rows: int, width: int) -> Tensor:
    """Every row's summed Δb, [rows, width], float32 or float64; zeros where a row has none."""
    biases = [part.bias for _, parts in segments for part, _ in parts if part.bias is not None]
    dtype = torch.float64 if any(bias.dtype == torch.float64 for bias in biases) else torch.float32
    table = torch.zeros(rows, width, dtype=dtype)
    for segment, parts in segments:
        for delta, strength in parts:
            if delta.bias is not None:
                start, length = delta.output_slice or (0, width)
                difference = delta.bias.detach().to("cpu", dtype) * strength
                table[segment.start : segment.start + segment.count, start : start + length] += difference
    return table


def normalise(kind: NormKind, module: nn.Module, x: Tensor, width: int) -> Tensor:
    """The module's normalisation without its weight and bias, from its attributes alone."""
    eps = getattr(module, "eps", None)
    if kind == "group":
        groups = int(getattr(module, "num_groups", 1))
        return functional.group_norm(x, groups, eps=1e-5 if eps is None else float(eps))
    if kind == "layer":
        return functional.layer_norm(x, (width,), eps=1e-5 if eps is None else float(eps))
    upcast = x if x.dtype == torch.float64 else x.float()
    eps = torch.finfo(x.dtype).eps if eps is None else float(eps)
    return (upcast * torch.rsqrt(upcast.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)
