"""One layer that networks touch: the updates that it needs for a strengths table, and its forward hook."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from loratorio_ext.networks.router.convolution import ConvolutionUpdate
from loratorio_ext.networks.router.delta import Delta, Dense, LowRank, OutputSlice
from loratorio_ext.networks.router.dense import DenseUpdate, TableUpdate
from loratorio_ext.networks.router.fit import convolution_dims, norm_kind, output_width
from loratorio_ext.networks.router.low_rank import Blocks, LinearUpdate, PointwiseUpdate
from loratorio_ext.networks.router.plan import Segment, Terms, blocks_of
from loratorio_ext.networks.router.update import Ledger, Update

AnyDelta = TypeVar("AnyDelta", LowRank, Dense)

SegmentsOf = Callable[[frozenset[int]], tuple[Segment, ...]]
"""Gives a strengths table's segments for the networks that touch a layer."""

FRESH_OUTPUT = frozenset({"Linear", "Conv1d", "Conv2d", "Conv3d", "LayerNorm", "GroupNorm", "RMSNorm"})
"""Names of classes whose forward makes a new tensor that nobody else holds: it may be added to in place."""


class Layer:
    """A module and each network's deltas for it."""

    def __init__(self, name: str, module: nn.Module, deltas: Mapping[int, Sequence[Delta]]) -> None:
        """deltas: network → its deltas, which fit the module (`check_fits`)."""
        self.name = name
        self.module = module
        self._dims = convolution_dims(module)
        self._norm = norm_kind(module)
        self._low_rank: dict[tuple[OutputSlice | None, bool], dict[int, list[LowRank]]] = {}
        self._dense: dict[OutputSlice | None, dict[int, list[Dense]]] = {}
        self._tables: dict[int, list[Dense]] = {}  # those with a bias, and those of a normalisation
        for network, several in deltas.items():
            for delta in several:
                if isinstance(delta, LowRank):
                    family = self._low_rank.setdefault((delta.output_slice, delta.mid is not None), {})
                    family.setdefault(network, []).append(delta)
                    continue
                if self._norm is None and (delta.weight is not None or delta.computed is not None):
                    by_network = self._dense.setdefault(delta.output_slice, {})
                    by_network.setdefault(network, []).append(delta)
                if self._norm is not None or delta.bias is not None:
                    self._tables.setdefault(network, []).append(delta)

    def updates(self, rows: int, segments_of: SegmentsOf, ledger: Ledger) -> tuple[Update[Any], ...]:
        """The updates that add what the rows of a table get; none where no row gets anything."""
        updates: list[Update[Any]] = []
        for (output_slice, has_mid), family in self._low_rank.items():
            blocks = _blocks(segments_of(frozenset(family)), family)
            if not blocks:
                continue
            if self._dims == 0:
                updates.append(LinearUpdate(blocks, output_slice, ledger))
            elif not has_mid and self._is_pointwise():
                updates.append(PointwiseUpdate(blocks, output_slice, ledger))
            else:
                updates.append(ConvolutionUpdate(blocks, output_slice, self._dims, ledger))
        for output_slice, dense in self._dense.items():
            segments = [(one, _deltas(one.terms, dense)) for one in segments_of(frozenset(dense))]
            if segments:
                updates.append(DenseUpdate(segments, output_slice, self._dims, ledger))
        segments = [(one, _deltas(one.terms, self._tables)) for one in segments_of(frozenset(self._tables))]
        if segments:
            channels_dim = 1 if self._dims or self._norm == "group" else -1
            size = (rows, self._width())
            updates.append(TableUpdate(self._norm, channels_dim, segments, size, ledger))
        return tuple(updates)

    def _width(self) -> int:
        """The output width, as the module or else the deltas tell it."""
        width = output_width(self.module)
        if width is not None:
            return width
        parts = [
            part for deltas in self._tables.values() for one in deltas for part in (one.weight, one.bias)
        ]
        return next(len(part) for part in parts if part is not None)

    def _is_pointwise(self) -> bool:
        """Whether a convolution of kernel 1 is a plain product: no stride, padding or groups."""
        module = self.module
        kernel, stride, padding = (getattr(module, name, 1) for name in ("kernel_size", "stride", "padding"))
        no_padding = padding in (0, "valid", "same") or padding == (0,) * self._dims
        ones = (1, (1,) * self._dims)
        return kernel in ones and stride in ones and no_padding and getattr(module, "groups", 1) == 1


def _blocks(segments: Sequence[Segment], family: Mapping[int, Sequence[LowRank]]) -> Blocks:
    ranks = {i: sum(max(one.rank_in, one.rank_out) for one in deltas) for i, deltas in family.items()}
    blocks = blocks_of(segments, lambda terms: sum(ranks[i] for i, _ in terms))
    return [(block, [_deltas(terms, family) for terms in block.slots]) for block in blocks]


def _deltas(terms: Terms, family: Mapping[int, Sequence[AnyDelta]]) -> list[tuple[AnyDelta, float]]:
    return [(delta, strength) for i, strength in terms for delta in family.get(i, ())]


def _autocast_query() -> Callable[[str], bool]:
    """Torch before 2.4 has one query for each kind of device."""
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 4):
        return torch.is_autocast_enabled
    return lambda device: (
        torch.is_autocast_cpu_enabled() if device == "cpu" else bool(torch.is_autocast_enabled())
    )


autocast_enabled = _autocast_query()


class RowHook:
    """The layer's hook in one model call: adds what every row's networks add; the output's dtype stays."""

    def __init__(self, layer: Layer, updates: Sequence[Update[Any]], rows: int) -> None:
        """rows: batch rows of the model call."""
        module = layer.module
        self._name = layer.name
        self._updates = tuple(updates)
        self._rows = rows
        plain = not module._modules and "forward" not in module.__dict__
        self._fresh = plain and type(module).__name__ in FRESH_OUTPUT

    def __call__(
        self, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object], output: object
    ) -> Tensor:
        """Signature of `register_forward_hook(..., with_kwargs=True)`."""
        x = args[0] if args else next(iter(kwargs.values()), None)
        if not isinstance(x, Tensor) or not isinstance(output, Tensor):
            raise TypeError(
                f"layer {self._name}: input and output must be tensors to route networks through it"
            )
        entries, rows = output.shape[0], self._rows
        if entries % rows or x.shape[0] != entries or entries == 0:
            raise ValueError(
                f"layer {self._name}: its input has {x.shape[0]} entries and its output {entries}; the "
                f"routing context was opened for {rows} rows and needs a multiple of that"
            )
        if x.dtype != output.dtype:
            x = x.to(output.dtype)
        # Others' hooks may have kept the output as it was; autograd needs it as it was.
        in_place = self._fresh and len(module._forward_hooks) == 1
        if in_place and torch.is_grad_enabled() and (output.requires_grad or x.requires_grad):
            in_place = False
        if autocast_enabled(output.device.type):
            with torch.autocast(output.device.type, enabled=False):
                return self._add(module, x, output, entries // rows, in_place)
        return self._add(module, x, output, entries // rows, in_place)

    def _add(self, module: nn.Module, x: Tensor, output: Tensor, per_row: int, in_place: bool) -> Tensor:
        if in_place and output.is_contiguous():
            result = output
        else:
            result = output.clone(memory_format=torch.contiguous_format)
        if result.numel():
            for update in self._updates:
                update.apply(module, x, result, per_row)
        if output.dim() == 4 and not output.is_contiguous():
            kept = output.is_contiguous(memory_format=torch.channels_last)
            return result.contiguous(memory_format=torch.channels_last) if kept else result
        return result
