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


class BiasUpdate(Update[Tensor]):
    """out += table[row] on the channels; the table holds every row's summed bias difference."""

    def __init__(self, segments: Segments, rows: int, width: int, channels_dim: int, ledger: Ledger) -> None:
        """rows: of the model call. width: output width. channels_dim: 1 or -1."""
        super().__init__(ledger)
        self._segments = tuple(segments)
        self._size = (rows, width)
        self._channels_dim = channels_dim

    def apply(self, module: nn.Module, x: Tensor, out: Tensor, per_row: int) -> None:
        """Add to all rows; the table is 0 where a row gets nothing."""
        table = self._kept.get((out.dtype, out.device))
        if table is None:
            with lasting():
                table = bias_table(self._segments, *self._size).to(out.device, out.dtype)
            self._keep((out.dtype, out.device), table, tensor_bytes(table))
        rows, width = self._size
        if self._channels_dim == 1:
            out.view(rows, per_row, width, -1).add_(table[:, None, :, None])
        else:
            out.view(rows, -1, width).add_(table[:, None, :])


class NormUpdate(Update[tuple[Tensor, Tensor]]):
    """out += normalised(x) · Δw + Δb for LayerNorm (last dim), RMSNorm (last dim) or GroupNorm (dim 1)."""

    def __init__(self, kind: NormKind, segments: Segments, rows: int, width: int, ledger: Ledger) -> None:
        """rows: of the model call. width: number of channels."""
        super().__init__(ledger)
        self._kind = kind
        self._segments = tuple(segments)
        self._size = (rows, width)

    def apply(self, module: nn.Module, x: Tensor, out: Tensor, per_row: int) -> None:
        """Add to all rows; the tables are 0 where a row gets nothing."""
        kept = self._kept.get((out.dtype, out.device))
        if kept is None:
            with lasting():
                weight = weight_table(self._segments, *self._size).to(out.device, out.dtype)
                bias = bias_table(self._segments, *self._size).to(out.device, out.dtype)
            kept = self._keep((out.dtype, out.device), (weight, bias), tensor_bytes(weight, bias))
        weight, bias = kept
        rows, width = self._size
        normalised = normalise(self._kind, module, x, width)
        if self._kind == "group":
            view = out.view(rows, per_row, width, -1)
            view.addcmul_(normalised.reshape(view.shape), weight[:, None, :, None])
            view.add_(bias[:, None, :, None])
        else:
            view = out.view(rows, -1, width)
            view.addcmul_(normalised.reshape(view.shape), weight[:, None, :])
            view.add_(bias[:, None, :])


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
