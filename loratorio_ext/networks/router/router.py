"""The row router: every batch row of one model call gets its own networks.

For every layer that a network touches, what the network would have added to the layer's output is added by a
forward hook; weights are never changed. `with router.routing(strengths): model(...)`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from torch import nn

from loratorio_ext.networks.router.delta import Delta
from loratorio_ext.networks.router.fit import FittedLayers
from loratorio_ext.networks.router.layer import Layer, RowHook
from loratorio_ext.networks.router.plan import Segment, Table, check_strengths, segments_of
from loratorio_ext.networks.router.update import Ledger, Update

CACHE_BYTES = 2 * 1024**3
"""Default limit of the memory that prepared copies of networks hold between calls."""

CACHE_PLANS = 32
"""How many strengths tables are remembered."""


class _Plan:
    """The updates of all touched layers for one strengths table."""

    def __init__(self, layers: Sequence[Layer], table: Table, limit: int) -> None:
        self.ledger = Ledger(limit)
        self._segments: dict[frozenset[int], tuple[Segment, ...]] = {}
        self._table = table
        self.updates: list[tuple[Layer, tuple[Update[Any], ...]]] = []
        for layer in layers:
            updates = layer.updates(len(table), self._segments_for, self.ledger)
            if updates:
                self.updates.append((layer, updates))

    def _segments_for(self, touching: frozenset[int]) -> tuple[Segment, ...]:
        segments = self._segments.get(touching)
        if segments is None:
            segments = self._segments[touching] = segments_of(self._table, touching)
        return segments

    def clear(self) -> None:
        for _, updates in self.updates:
            for update in updates:
                update.clear()
        self.ledger.held = 0


class Router:
    """Networks of one model, applied by batch row.

    Not for several threads at once: a router's modules serve one model call at a time.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        networks: Sequence[Mapping[str, Sequence[Delta]]],
        *,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Check and remember; nothing is hooked and nothing copied yet.

        modules: layer name → module. networks: for each network, layer name → its deltas, which add up; those
        that are `FittedLayers` of these modules are not checked again.
        cache_bytes: memory that stacked, cast copies may hold between calls; the copies of the call at hand
        are kept in any case, except computed or summed dense weights, which are then made at every call.
        Raises ValueError where a network names a layer that `modules` lacks, or a delta does not fit.
        """
        if cache_bytes < 0:
            raise ValueError(f"cache_bytes is {cache_bytes}; it must be 0 or more")
        by_layer: dict[str, dict[int, Sequence[Delta]]] = {}
        for index, network in enumerate(networks):
            for name, deltas in _fitted(index, network, modules).items():
                by_layer.setdefault(name, {})[index] = deltas
        self._networks = len(networks)
        self._layers = tuple(Layer(name, modules[name], deltas) for name, deltas in by_layer.items())
        self._cache_bytes = cache_bytes
        self._plans: OrderedDict[Table, _Plan] = OrderedDict()
        self._active = False
        self._calls = 0

    @property
    def calls(self) -> int:
        """Number of contexts so far that ended without an exception."""
        return self._calls

    @contextmanager
    def routing(self, strengths: Sequence[Sequence[float]]) -> Iterator[None]:
        """Hooks for one model call; they are gone when the context ends, however it ends.

        strengths: [rows][networks], finite, any sign; 0 leaves a network out of a row. In the model call,
        dim 0 of every touched layer's input must be rows × m, m >= 1 neighbouring entries for each row.
        Raises ValueError for a bad table and RuntimeError where this router is routing already; in the call,
        the hooks raise ValueError where a layer's input has another number of rows.
        """
        table = check_strengths(strengths, self._networks)
        if self._active:
            raise RuntimeError("this router is routing already; end that context before the next begins")
        self._active = True
        handles = []
        try:
            plan = self._plan(table)
            for layer, updates in plan.updates:
                hook = RowHook(layer, updates, len(table))
                handles.append(layer.module.register_forward_hook(hook, with_kwargs=True))
            yield
            self._calls += 1
        finally:
            for handle in reversed(handles):
                handle.remove()
            self._active = False
            self._shrink()

    def release(self) -> None:
        """Drop every prepared copy; the next call makes what it needs anew."""
        for plan in self._plans.values():
            plan.clear()
        self._plans.clear()

    @property
    def held_bytes(self) -> int:
        """Memory that the prepared copies hold now."""
        return sum(plan.ledger.held for plan in self._plans.values())

    def _plan(self, table: Table) -> _Plan:
        plan = self._plans.get(table)
        if plan is None:
            plan = self._plans[table] = _Plan(self._layers, table, self._cache_bytes)
        self._plans.move_to_end(table)
        return plan

    def _shrink(self) -> None:
        """Forget the plans used longest ago until the limits hold; the last one stays."""
        while len(self._plans) > 1 and (
            len(self._plans) > CACHE_PLANS or self.held_bytes > self._cache_bytes
        ):
            _, plan = self._plans.popitem(last=False)
            plan.clear()


def _fitted(
    index: int, network: Mapping[str, Sequence[Delta]], modules: Mapping[str, nn.Module]
) -> FittedLayers:
    """The network's layers, checked against these modules here unless they have been before."""
    if isinstance(network, FittedLayers) and all(
        modules.get(name) is module for name, module in network.modules.items()
    ):
        return network
    fitted = FittedLayers()
    for name, deltas in network.items():
        if name not in modules:
            raise ValueError(
                f"network {index} has deltas for layer {name!r}, which is not among the "
                f"{len(modules)} modules given; pass the part for this model (Network.part)"
            )
        fitted.add(name, modules[name], deltas)
    return fitted
