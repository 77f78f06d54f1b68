"""The adapters that a pipeline has loaded: what they add to the denoiser, and how they rest meanwhile."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate.utils import align_module_device
from peft.tuners.loha import LoHaLayer
from peft.tuners.lokr import LoKrLayer
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from loratorio_ext.networks.files.computed import Computed, low_rank
from loratorio_ext.networks.router import Delta, Dense, FittedLayers, LowRank

_SAME = 1e-6  # relative difference of strengths that counts as rounding


@dataclass(frozen=True, eq=False)
class Adapter:
    """One adapter of the denoiser.

    Attributes:
        name: as `load_lora_weights` was given it.
        strength: as `set_adapters` was given it; 1 where blocks have strengths of their own, which the
            layers' deltas then hold.
        layers: what it adds, by layer name.
    """

    name: str
    strength: float
    layers: FittedLayers


def tuner_layers(model: nn.Module) -> dict[str, Any]:
    """The layers that PEFT has put into a model, by name."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, BaseTunerLayer)}


def names_of(layers: Collection[Any]) -> tuple[str, ...]:
    """The adapters in these layers, in the order in which they were loaded."""
    names: dict[str, None] = {}
    for layer in layers:
        for parts in (getattr(layer, attribute) for attribute in layer.adapter_layer_names):
            names.update(dict.fromkeys(parts))
    return tuple(names)


def read_adapter(name: str, component: str, layers: Mapping[str, Any]) -> Adapter:
    """What an adapter adds to the layers of PEFT in a denoiser.

    Args:
        name: of the adapter.
        component: "unet" or "transformer", with which the layers' names begin.
        layers: from `tuner_layers`.

    Raises:
        ValueError: the adapter is of a kind that cannot be composed; names the layer and the kind.
    """
    touched = {place: layer for place, layer in layers.items() if name in names_of([layer])}
    strengths = {_strength(layer, name) for layer in touched.values()}
    lowest, highest = min(strengths, default=1.0), max(strengths, default=1.0)
    strength = highest if math.isclose(lowest, highest, rel_tol=_SAME) else 1.0
    fitted = FittedLayers()
    for place, layer in touched.items():
        layer_name = f"{component}.{place}"
        # The strength belongs to the row; what is left is the layer's own scale.
        scale = _unit_scale(layer, name)
        if strength != 0:
            scale = float(layer.scaling[name]) / strength
        try:
            fitted.add(layer_name, layer.get_base_layer(), tuple(_deltas(layer, name, scale, strength)))
        except ValueError as error:
            raise ValueError(f"adapter {name!r} cannot be composed: {error}") from error
    return Adapter(name, strength, fitted)


def _strength(layer: Any, name: str) -> float:
    scaling = getattr(layer, "scaling", None)
    if scaling is None or name not in scaling:
        raise ValueError(
            f"adapter {name!r} cannot be composed: it is of the kind {_kind(layer)}; load a LoRA, LoHa or "
            "LoKr instead"
        )
    return float(scaling[name]) / _unit_scale(layer, name)


def _kind(layer: Any) -> str:
    """PEFT's name for what a layer is: "lora", "boft", ..."""
    return type(layer).__module__.removeprefix("peft.tuners.").partition(".")[0]


def _unit_scale(layer: Any, name: str) -> float:
    """The scale of a layer at strength 1: alpha / rank, or alpha / √rank (rsLoRA)."""
    if not isinstance(layer, LoraLayer):
        return float(layer.alpha[name] / layer.r[name])
    rank = layer.r[name]
    return float(
        layer.lora_alpha[name] / (math.sqrt(rank) if getattr(layer, "use_rslora", {}).get(name) else rank)
    )


def _deltas(layer: Any, name: str, scale: float, strength: float) -> Iterator[Delta]:
    """What an adapter adds to one layer at strength 1."""
    if isinstance(layer, (LoHaLayer, LoKrLayer)):
        given = layer.get_delta_weight(name) if strength else torch.zeros(layer.get_base_layer().weight.shape)
        yield Dense(weight=given.detach(), scale=1 / strength if strength else 1.0)
        return
    if not isinstance(layer, LoraLayer) or name not in layer.lora_A:
        raise ValueError(f"it is of the kind {_kind(layer)} ({type(layer).__name__}); load a LoRA instead")
    down, up = _weight(layer.lora_A[name]), _weight(layer.lora_B[name])
    variant = getattr(layer, "lora_variant", {}).get(name)
    if layer.use_dora.get(name):
        magnitude = _weight(layer.lora_magnitude_vector[name]).flatten()
        shape = tuple(layer.get_base_layer().weight.shape)
        computed = Computed(
            low_rank,
            {"up": up, "down": down},
            scale * strength,
            shape=shape,
            magnitude=magnitude.reshape(-1, *(1,) * (len(shape) - 1)),
        )
        # Its strength acts inside the norm, as in PEFT; the row's strength must not act once more.
        yield Dense(computed=computed, scale=1 / strength if strength else 1.0)
    elif variant is not None:
        raise ValueError(f"it is of the kind {getattr(variant, '__name__', type(variant).__name__)}")
    else:
        yield LowRank(down, up, scale=scale)
    if getattr(layer.lora_B[name], "bias", None) is not None:
        yield Dense(bias=_weight(layer.lora_B[name], "bias") * scale)


def _weight(module: nn.Module, name: str = "weight") -> Tensor:
    """A parameter without gradient; from where accelerate keeps it, if that is not in the module."""
    parameter: Tensor = getattr(module, name)
    if parameter.device.type != "meta":
        return parameter.detach()
    with align_module_device(module, "cpu"):
        kept: Tensor = getattr(module, name).detach().clone()
    if kept.device.type == "meta":
        raise ValueError("its weights are not in memory; load it before offloading is enabled")
    return kept


@contextmanager
def resting(layers: Collection[Any]) -> Iterator[None]:
    """Layers without their adapters; afterwards all is as before, but for what was changed inside."""
    with _kept(layers):
        for layer in layers:
            layer.enable_adapters(False)
        yield


@contextmanager
def acting(layers: Collection[Any], names: Sequence[str]) -> Iterator[None]:
    """Layers with these adapters at once, as the pipeline merges them; afterwards as `resting`."""
    with _kept(layers):
        before = [(layer, list(layer.active_adapters)) for layer in layers]
        given = [[name for name in names if name in names_of([layer])] for layer in layers]
        for layer, active in zip(layers, given, strict=True):
            layer.set_adapter(active)
            layer.enable_adapters(True)
        try:
            yield
        finally:
            for (layer, active), set_here in zip(before, given, strict=True):
                if list(layer.active_adapters) == set_here:  # else somebody has chosen others inside
                    layer.set_adapter(active)


@contextmanager
def _kept(layers: Collection[Any]) -> Iterator[None]:
    """Whether adapters act, and which parameters have gradients; what is new or gone is left alone."""
    before = [(layer, layer.disable_adapters) for layer in layers]
    gradients = [(parameter, parameter.requires_grad) for layer in layers for parameter in layer.parameters()]
    try:
        yield
    finally:
        for layer, disabled in before:
            layer.enable_adapters(not disabled)
        for parameter, needed in gradients:
            parameter.requires_grad_(needed)
