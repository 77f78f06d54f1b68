"""From the WebUI's network modules to what a network adds to each layer of the UNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from loratorio_ext.hosts.a1111 import webui
from loratorio_ext.hosts.a1111.networks import ComposedNetwork, is_unet_key, unit_strength
from loratorio_ext.hosts.webuis.adapter import UnetLayers
from loratorio_ext.networks.router import Delta, Dense, FittedLayers, LowRank, OutputSlice

# Parts of a fused projection, in the order in which the WebUI stacks them (networks.py, QkvLinear).
_FUSED = ("_q_proj", "_k_proj", "_v_proj")
# Kinds whose difference may change a bias or a normalisation; both are plain tensors in the file.
_GIVEN = ("NetworkModuleFull", "NetworkModuleNorm")


def layers_of(one: ComposedNetwork, modules: Mapping[str, nn.Module]) -> UnetLayers:
    """What the network adds to the layers in ``modules``, without its text encoder part."""
    deltas = FittedLayers()
    unmatched: list[str] = []
    for key, part in one.network.modules.items():
        if not is_unet_key(key):
            continue
        name, output_slice = _place(key, part, modules)
        module = modules.get(name)
        if module is None:
            unmatched.append(f"this model has no layer {name}")
            continue
        try:
            deltas.add(name, module, [_delta(one, part, module, output_slice)])
        except (RuntimeError, ValueError) as error:
            unmatched.append(f"{name}: {error}")
    return UnetLayers(deltas, tuple(unmatched))


def _place(key: str, part: Any, modules: Mapping[str, nn.Module]) -> tuple[str, OutputSlice | None]:
    """The layer's name, and the slice of its output that the part belongs to."""
    if key in modules:
        return key, None
    for place, suffix in enumerate(_FUSED):
        name = key.removesuffix(suffix)
        if name != key and name in modules:
            width = int(part.shape[0])
            return name, (place * width, width)
    return key, None


def _delta(one: ComposedNetwork, part: Any, module: nn.Module, output_slice: OutputSlice | None) -> Delta:
    if _is_low_rank(part):
        return _low_rank(one, part, module, output_slice)

    def calculated(layer: nn.Module) -> tuple[Tensor, Tensor | None]:
        # The WebUI's own calculation, in the precision in which it merges: half-precision parts need that.
        with unit_strength(one), torch.no_grad(), webui.autocast():
            weight, bias = part.calc_updown(_plain_weight(layer, output_slice))
        return _with_missing_inputs(layer, weight), bias

    if type(part).__name__ in _GIVEN and part.dora_scale is None:
        weight, bias = calculated(module)
        return Dense(weight=weight, bias=bias, output_slice=output_slice)
    return Dense(computed=lambda layer: calculated(layer)[0], output_slice=output_slice)


def _is_low_rank(part: Any) -> bool:
    """LoRA and LoCon without DoRA's norm and without a bias that is added to ΔW."""
    return (
        hasattr(part, "up_model")
        and hasattr(part, "down_model")
        and part.dora_scale is None
        and part.bias is None
    )


def _low_rank(
    one: ComposedNetwork, part: Any, module: nn.Module, output_slice: OutputSlice | None
) -> LowRank:
    """The factors that ``NetworkModuleLora.calc_updown`` (network_lora.py) multiplies out."""
    up, down = part.up_model.weight.detach(), part.down_model.weight.detach()
    mid = None if part.mid_model is None else part.mid_model.weight.detach()
    if mid is None and one.dyn is not None:
        up, down = up[:, : one.dyn], down[: one.dyn]
    down = _with_missing_inputs(module, down)
    return LowRank(down, up, mid, scale=float(part.calc_scale()), output_slice=output_slice)


def _with_missing_inputs(module: nn.Module, weight: Tensor) -> Tensor:
    """Pad for an inpainting model's first layer, which has 9 inputs; other models' networks have 4."""
    if getattr(module, "in_channels", None) != 9 or weight.dim() != 4 or weight.shape[1] != 4:
        return weight
    return torch.cat((weight, weight.new_zeros(weight.shape[0], 5, *weight.shape[2:])), dim=1)


def _plain_weight(module: nn.Module, output_slice: OutputSlice | None) -> Tensor:
    """The weight in float32, without the kept networks' rounding where the WebUI keeps such a copy (fp8)."""
    stored = getattr(module, "fp16_weight", None)
    weight: Tensor = module.weight if stored is None else stored.to(module.weight.device)  # type: ignore[assignment]
    plain = weight.detach().to(torch.float32)
    return plain if output_slice is None else plain[output_slice[0] : sum(output_slice)]
