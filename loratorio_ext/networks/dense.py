"""Dense differences of the weight, and differences of the bias."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from loratorio_ext.networks.convolution import convolve, geometry_of, padded
from loratorio_ext.networks.delta import Dense, OutputSlice, at_least_float32
from loratorio_ext.networks.plan import Segment
from loratorio_ext.networks.stacks import lasting, tensor_bytes
from loratorio_ext.networks.updates import Ledger

Parts = Sequence[tuple[Dense, float]]
"""The dense deltas of one segment or row with their strengths."""


class DenseUpdate:
    """out[segment] += layer(x[segment]) with the segment's summed ΔW in place of the layer's weight.

    The sum is made when the layer runs and kept while the ledger has room, else made again at every call.
    """

    def __init__(
        self,
        segments: Sequence[tuple[Segment, Parts]],
        output_slice: OutputSlice | None,
        dims: int,
        ledger: Ledger,
    ) -> None:
        """dims: spatial dims of the convolution, 0 for a linear layer."""
        self._segments = tuple(segments)
        self._slice = output_slice
        self._dims = dims
        self._ledger = ledger
        self._kept: dict[tuple[torch.dtype, torch.device, int], Tensor] = {}

    def apply(self, module: nn.Module, x: Tensor, out: Tensor, per_row: int) -> None:
        """See `Update.apply`."""
        for index, (segment, parts) in enumerate(self._segments):
            weight = self._kept.get((out.dtype, out.device, index))
            if weight is None:
                weight = self._weight(module, parts, out.dtype, out.device)
                if self._ledger.has_room_for(tensor_bytes(weight)):
                    self._ledger.held += tensor_bytes(weight)
                    self._kept[out.dtype, out.device, index] = weight
            start, count = segment.start * per_row, segment.count * per_row
            source, target = x.narrow(0, start, count), out.narrow(0, start, count)
            if self._slice is not None:
                target = target.narrow(1 if self._dims else -1, *self._slice)
            if self._dims:
                geometry = geometry_of(module, weight.shape[2:])
                target.add_(convolve(padded(source, geometry), weight, geometry, geometry.groups))
            else:
                target.add_(torch.matmul(source, weight.t()))

    def clear(self) -> None:
        """Drop the kept sums."""
        self._kept.clear()

    def _weight(self, module: nn.Module, parts: Parts, dtype: torch.dtype, device: torch.device) -> Tensor:
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


class BiasUpdate:
    """out += table[row] on the channels; the table holds every row's summed bias difference."""

    def __init__(self, rows: Sequence[Parts], width: int, channels_dim: int, ledger: Ledger) -> None:
        """rows: for every batch row its deltas with a bias. width: output width. channels_dim: 1 or -1."""
        self._rows = tuple(rows)
        self._width = width
        self._channels_dim = channels_dim
        self._ledger = ledger
        self._prepared: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def apply(self, module: nn.Module, x: Tensor, out: Tensor, per_row: int) -> None:
        """See `Update.apply`."""
        table = self._prepared.get((out.dtype, out.device))
        if table is None:
            with lasting():
                table = bias_table(self._rows, self._width).to(out.device, out.dtype)
            self._ledger.held += tensor_bytes(table)
            self._prepared[out.dtype, out.device] = table
        if self._channels_dim == 1:
            out.view(len(self._rows), per_row, self._width, -1).add_(table[:, None, :, None])
        else:
            out.view(len(self._rows), -1, self._width).add_(table[:, None, :])

    def clear(self) -> None:
        """Drop the table."""
        self._prepared.clear()


def bias_table(rows: Sequence[Parts], width: int) -> Tensor:
    """Every row's summed Δb, [rows, width], float32 or float64; zeros where a row has none."""
    with lasting():
        biases = [part.bias for parts in rows for part, _ in parts if part.bias is not None]
        dtype = torch.float64 if any(bias.dtype == torch.float64 for bias in biases) else torch.float32
        table = torch.zeros(len(rows), width, dtype=dtype)
        for index, parts in enumerate(rows):
            for delta, strength in parts:
                if delta.bias is not None:
                    start, length = delta.output_slice or (0, width)
                    table[index, start : start + length] += delta.bias.detach().to("cpu", dtype) * strength
    return table
