"""One layer that networks touch: the updates that it needs for a strengths table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from torch import nn

from loratorio_ext.networks.checks import check_fits
from loratorio_ext.networks.convolution import ConvolutionUpdate
from loratorio_ext.networks.delta import Delta, Dense, LowRank, OutputSlice
from loratorio_ext.networks.dense import BiasUpdate, DenseUpdate
from loratorio_ext.networks.kinds import convolution_dims, norm_kind, output_width
from loratorio_ext.networks.linear import LinearUpdate, PointwiseUpdate
from loratorio_ext.networks.norm import NormUpdate
from loratorio_ext.networks.plan import Block, Segment, Terms, blocks_of
from loratorio_ext.networks.stacks import Factors, down_rank, up_rank
from loratorio_ext.networks.updates import Ledger, Update

AnyDelta = TypeVar("AnyDelta", LowRank, Dense)

Segments = Callable[[frozenset[int]], tuple[Segment, ...]]
"""Gives a strengths table's segments for the networks that touch a layer."""


class Layer:
    """A module and each network's deltas for it."""

    def __init__(self, name: str, module: nn.Module, deltas: Mapping[int, Sequence[Delta]]) -> None:
        """deltas: network → its deltas. Raises ValueError where one does not fit the module."""
        self.name = name
        self.module = module
        self._dims = convolution_dims(module)
        self._low_rank: dict[tuple[OutputSlice | None, bool], dict[int, list[LowRank]]] = {}
        self._dense: dict[OutputSlice | None, dict[int, list[Dense]]] = {}
        self._tables: dict[int, list[Dense]] = {}
        self._width = output_width(module)
        norm = norm_kind(module)
        for network, several in deltas.items():
            for delta in several:
                check_fits(delta, name, module)
                if isinstance(delta, LowRank):
                    family = self._low_rank.setdefault((delta.output_slice, delta.mid is not None), {})
                    family.setdefault(network, []).append(delta)
                    continue
                if norm is None and (delta.weight is not None or delta.computed is not None):
                    by_network = self._dense.setdefault(delta.output_slice, {})
                    by_network.setdefault(network, []).append(delta)
                if norm is not None or delta.bias is not None:
                    self._tables.setdefault(network, []).append(delta)
        self._norm = norm

    def updates(
        self, table: Sequence[Sequence[float]], segments: Segments, ledger: Ledger
    ) -> tuple[Update, ...]:
        """The updates that add what the table's rows get; none where no row gets anything."""
        updates: list[Update] = []
        for (output_slice, has_mid), family in self._low_rank.items():
            blocks = self._blocks(segments(frozenset(family)), family)
            if not blocks:
                continue
            if self._dims == 0:
                updates.append(LinearUpdate(blocks, output_slice, ledger))
            elif not has_mid and self._is_pointwise():
                updates.append(PointwiseUpdate(blocks, output_slice, ledger))
            else:
                updates.append(ConvolutionUpdate(blocks, output_slice, self._dims, ledger))
        for output_slice, dense in self._dense.items():
            parts = [(part, _terms_of(part.terms, dense)) for part in segments(frozenset(dense))]
            if parts:
                updates.append(DenseUpdate(parts, output_slice, self._dims, ledger))
        if self._tables and segments(frozenset(self._tables)):
            rows = [_terms_of(tuple(enumerate(row)), self._tables) for row in table]
            updates.append(self._table_update(rows, ledger))
        return tuple(updates)

    def _table_update(self, rows: Sequence[Sequence[tuple[Dense, float]]], ledger: Ledger) -> Update:
        width = self._width
        if width is None:
            lengths = [
                len(part)
                for row in rows
                for delta, _ in row
                for part in (delta.weight, delta.bias)
                if part is not None
            ]
            width = lengths[0]
        if self._norm is not None:
            return NormUpdate(self._norm, rows, width, ledger)
        return BiasUpdate(rows, width, 1 if self._dims else -1, ledger)

    def _blocks(
        self, segments: Sequence[Segment], family: Mapping[int, Sequence[LowRank]]
    ) -> list[tuple[Block, list[Factors]]]:
        ranks = {i: sum(max(down_rank(d), up_rank(d)) for d in deltas) for i, deltas in family.items()}
        blocks = blocks_of(segments, lambda terms: sum(ranks[i] for i, _ in terms))
        return [(block, [_terms_of(terms, family) for terms in block.slots]) for block in blocks]

    def _is_pointwise(self) -> bool:
        """Whether a convolution of kernel 1 is a plain product: no stride, padding or groups."""
        module = self.module
        kernel, stride, padding = (getattr(module, name, 1) for name in ("kernel_size", "stride", "padding"))
        no_padding = padding in (0, "valid", "same") or padding == (0,) * self._dims
        ones = (1, (1,) * self._dims)
        return kernel in ones and stride in ones and no_padding and getattr(module, "groups", 1) == 1


def _terms_of(terms: Terms, family: Mapping[int, Sequence[AnyDelta]]) -> list[tuple[AnyDelta, float]]:
    return [(delta, strength) for i, strength in terms if strength != 0.0 for delta in family.get(i, ())]
