"""The row router: every batch row of one model call gets its own networks.

For every layer that a network touches, what the network would have added to the layer's output is added by a
forward hook; weights are never changed. `with router.routing(strengths): model(...)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from loratorio_ext.networks.router.delta import Delta, LowRank, OutputSlice
from loratorio_ext.networks.router.dense import DenseUpdate, NormOrBiasUpdate
from loratorio_ext.networks.router.fit import FittedLayers, convolution_dims, norm_kind
from loratorio_ext.networks.router.low_rank import ConvolutionUpdate, LinearUpdate, PointwiseUpdate
from loratorio_ext.networks.router.places import Places
from loratorio_ext.networks.router.plan import Table, segments_of
from loratorio_ext.networks.router.update import Ledger, Update

CACHE_BYTES = 2 * 1024**3
"""Default limit of the memory that prepared copies of networks hold between calls."""

CACHE_PLANS = 32
"""How many strengths tables are remembered."""

FRESH_OUTPUT = frozenset({"Linear", "Conv1d", "Conv2d", "Conv3d", "LayerNorm", "GroupNorm", "RMSNorm"})
"""Names of classes whose forward makes a new tensor that nobody else holds: it may be added to in place."""


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
        self._layers = tuple(_layer(name, modules[name], deltas) for name, deltas in by_layer.items())
        self._cache_bytes = cache_bytes
        self._plans: dict[tuple[Table, tuple[int, ...]], _Plan] = {}  # the one used last comes last
        self._active = False

    @contextmanager
    def routing(
        self,
        strengths: Sequence[Sequence[float]],
        places: Places | None = None,
        failed: Callable[[Exception], None] | None = None,
    ) -> Iterator[None]:
        """Hooks for one model call; they are gone when the context ends, however it ends.

        strengths: [rows][networks], finite, any sign; 0 leaves a network out of a row. In the model call,
        dim 0 of every touched layer's input must be rows × m, m >= 1 neighbouring entries for each row.
        places: in its rows, what each network adds is multiplied by its map, place by place; there m is 1.
        failed: for a call that is not ours and has to go on: told of what a hook would have raised, which
            then adds nothing.
        Raises ValueError for a bad table or other places, RuntimeError where this router is routing already;
        in the call, the hooks raise ValueError where a layer's input has another number of rows, and
        UnplacedError where it is not known how it lies over the latent.
        """
        if self._active:
            raise RuntimeError("this router is routing already; end that context before the next begins")
        table = tuple(tuple(map(float, row)) for row in strengths)
        placed = () if places is None else places.rows
        plan = self._plans.pop((table, placed), None)
        if plan is None:
            _check(table, self._networks)
            if places is not None and (places.networks != self._networks or max(placed) >= len(table)):
                raise ValueError(
                    f"places are for {places.networks} networks and rows {placed}; the table has "
                    f"{self._networks} networks and {len(table)} rows"
                )
            plan = _Plan(self._layers, table, placed, self._cache_bytes)
        self._plans[table, placed] = plan
        self._active = True
        handles = []
        try:
            for hook in plan.hooks:
                hook.places, hook.failed = places, failed
                handle = hook.module.register_forward_hook(hook, with_kwargs=True)
                handles.append(handle)
            yield
        finally:
            for handle in reversed(handles):
                handle.remove()
            for hook in plan.hooks:
                hook.places, hook.failed = None, None
            self._active = False
            # The plans used longest ago are forgotten until the limits hold; the last one stays.
            while len(self._plans) > 1 and (
                len(self._plans) > CACHE_PLANS or self.held_bytes > self._cache_bytes
            ):
                self._plans.pop(next(iter(self._plans))).clear()

    def release(self) -> None:
        """Drop every prepared copy; the next call makes what it needs anew."""
        for plan in self._plans.values():
            plan.clear()
        self._plans.clear()

    @property
    def held_bytes(self) -> int:
        """Memory that the prepared copies hold now."""
        return sum(plan.ledger.held for plan in self._plans.values())


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


def _check(table: Table, networks: int) -> None:
    """Raise ValueError where there is no row, a row has another length, or a strength is not finite."""
    if not table:
        raise ValueError("strengths has no rows; a model call needs at least one row")
    for index, row in enumerate(table):
        if len(row) != networks:
            raise ValueError(
                f"strengths[{index}] has {len(row)} values; it needs one for each of {networks} networks"
            )
        if not all(map(math.isfinite, row)):
            raise ValueError(f"strengths[{index}] is {row}; strengths must be finite numbers")


Family = tuple[type[Update[Any, Any]], OutputSlice | None, bool]
"""Deltas of a layer that go through one update: of which kind, their output slice, whether with a mid."""


class _Layer(NamedTuple):
    """A layer that networks touch; families: in the order in which they add, with network → its deltas."""

    name: str
    module: nn.Module
    families: Sequence[tuple[Family, Mapping[int, Sequence[Any]]]]


def _layer(name: str, module: nn.Module, deltas: Mapping[int, Sequence[Delta]]) -> _Layer:
    """deltas: network → its deltas, which fit the module (`check_fits`)."""
    families: dict[Family, dict[int, list[Delta]]] = {}
    for network, several in deltas.items():
        for delta in several:
            for family in _families_of(delta, module):
                families.setdefault(family, {}).setdefault(network, []).append(delta)
    last: Mapping[object, int] = {DenseUpdate: 1, NormOrBiasUpdate: 2}
    return _Layer(name, module, sorted(families.items(), key=lambda one: last.get(one[0][0], 0)))


def _families_of(delta: Delta, module: nn.Module) -> Iterator[Family]:
    if isinstance(delta, LowRank):
        if convolution_dims(module) == 0:
            kind: type[Update[Any, Any]] = LinearUpdate
        else:
            kind = PointwiseUpdate if delta.mid is None and _is_pointwise(module) else ConvolutionUpdate
        yield kind, delta.output_slice, delta.mid is not None
        return
    is_norm = norm_kind(module) is not None
    if not is_norm and (delta.weight is not None or delta.computed is not None):
        yield DenseUpdate, delta.output_slice, False
    if is_norm or delta.bias is not None:
        yield NormOrBiasUpdate, None, False


def _is_pointwise(module: nn.Module) -> bool:
    """Whether a convolution of kernel 1 is a plain product: no stride, padding or groups."""
    kernel, stride, padding = (getattr(module, name, 1) for name in ("kernel_size", "stride", "padding"))
    dims = convolution_dims(module)
    no_padding = padding in (0, "valid", "same") or padding == (0,) * dims
    ones = (1, (1,) * dims)
    return kernel in ones and stride in ones and no_padding and getattr(module, "groups", 1) == 1


class _Plan:
    """The hooks of all layers that anything is added to, for one strengths table."""

    def __init__(self, layers: Sequence[_Layer], table: Table, placed: Collection[int], limit: int) -> None:
        self.ledger = Ledger(limit)
        self.hooks: list[RowHook] = []
        segments = lru_cache(
            partial(segments_of, table, frozenset(placed))
        )  # most layers are touched by the same networks
        for name, module, families in layers:
            updates = []
            for (kind, output_slice, _), deltas in families:
                rows = segments(frozenset(deltas))
                if rows:
                    updates.append(kind(module, deltas, output_slice, rows, self.ledger))
            if updates:
                self.hooks.append(RowHook(name, module, updates, len(table)))

    def clear(self) -> None:
        """Drop every prepared copy."""
        for hook in self.hooks:
            for update in hook.updates:
                update.clear()
        self.ledger.held = 0


def _autocast_query() -> Callable[[str], bool]:
    """Torch before 2.4 has one query for each kind of device."""
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 4):
        return torch.is_autocast_enabled
    return lambda device: (
        torch.is_autocast_cpu_enabled() if device == "cpu" else bool(torch.is_autocast_enabled())
    )


autocast_enabled = _autocast_query()


class RowHook:
    """A layer's forward hook: adds what every row's networks add to the output, whose dtype stays."""

    def __init__(self, name: str, module: nn.Module, updates: Sequence[Update[Any, Any]], rows: int) -> None:
        """rows: batch rows of the model call."""
        self.name, self.module, self.updates, self.rows = name, module, updates, rows
        self.places: Places | None = None
        self.failed: Callable[[Exception], None] | None = None

    def __call__(
        self, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object], output: object
    ) -> object:
        """Signature of `register_forward_hook(..., with_kwargs=True)`."""
        if self.failed is None:
            return self._added(module, args, kwargs, output)
        try:
            return self._added(module, args, kwargs, output)
        except Exception as error:  # noqa: BLE001 - whatever it is, the call is not ours
            self.failed(error)
            return output

    def _added(
        self, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object], output: object
    ) -> Tensor:
        x = args[0] if args else next(iter(kwargs.values()), None)
        if not isinstance(x, Tensor) or not isinstance(output, Tensor):
            raise TypeError(
                f"layer {self.name}: input and output must be tensors to route networks through it"
            )
        entries, rows = output.shape[0], self.rows
        if entries % rows or x.shape[0] != entries or entries == 0:
            raise ValueError(
                f"layer {self.name}: its input has {x.shape[0]} entries and its output {entries}; the "
                f"routing context was opened for {rows} rows and needs a multiple of that"
            )
        if x.dtype != output.dtype:
            x = x.to(output.dtype)
        # Others may have kept the output, as forward gave it or by their hooks; autograd needs it as it was.
        in_place = (
            type(module).__name__ in FRESH_OUTPUT
            and not module._modules
            and "forward" not in module.__dict__
            and len(module._forward_hooks) == 1
            and not (torch.is_grad_enabled() and (output.requires_grad or x.requires_grad))
            and output.is_contiguous()
        )
        result = output if in_place else output.clone(memory_format=torch.contiguous_format)
        device = output.device.type
        with torch.autocast(device, enabled=False) if autocast_enabled(device) else nullcontext():
            for update in self.updates if result.numel() else ():
                update.apply(self.name, x, result, entries // rows, self.places)
        if output.dim() != 4 or output.is_contiguous():
            return result
        kept = output.is_contiguous(memory_format=torch.channels_last)
        return result.contiguous(memory_format=torch.channels_last) if kept else result
