"""From Forge's patches to what a network adds to each layer of the UNet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from loratorio_ext.hosts.forge.backend import Backend
from loratorio_ext.hosts.forge.networks import ComposedNetwork
from loratorio_ext.hosts.webuis.adapter import UnetLayers
from loratorio_ext.networks.router import Delta, Dense, FittedLayers, LowRank, OutputSlice, input_width


def layers_of(backend: Backend, one: ComposedNetwork, model: nn.Module) -> UnetLayers:
    """What the network adds to the layers of a KModel."""
    deltas = FittedLayers()
    unmatched: list[str] = []
    of_unet = one.unet_patches
    if one.unet == 0 and not of_unet:  # reForge reads no part whose strength is 0
        of_unet, _ = backend.patches_of_file(one.file)
    for parameter, patches in of_unet.items():
        name, _, kind = parameter.rpartition(".")
        try:
            module = model.get_submodule(name)
            acting = [patch for patch in patches if _share(one, patch) != 0]
            found = [_delta(backend, one, patch, kind, module) for patch in acting]
            deltas.add(name, module, found)
        except (AttributeError, RuntimeError, ValueError) as error:
            unmatched.append(f"{parameter}: {error}")
    return UnetLayers(deltas, tuple(unmatched))


def _delta(
    backend: Backend, one: ComposedNetwork, patch: Sequence[Any], kind: str, module: nn.Module
) -> Delta:
    _, value, _, offset, function = (*patch, None, None)[:5]  # Forge Classic's have three
    share = _share(one, patch)
    if kind == "bias":
        if _type(value) != "diff" or offset is not None or function is not None:
            raise ValueError(f"a bias patch of type {_type(value)!r} cannot be composed")
        return Dense(bias=_tensors(value)[0] * share)
    if kind != "weight":
        raise ValueError("neither a weight nor a bias, so it cannot be composed")
    if _type(value) == "lora" and any(part is not None for part in _tensors(value)[5:6]):
        raise ValueError("it changes the weight's shape, which cannot be composed")
    output_slice = _output_slice(offset)
    routable = function is None and (offset is None or output_slice is not None)
    if _type(value) == "lora" and set(_tensors(value)[4:]) <= {None} and routable:
        return _low_rank(_tensors(value), module, output_slice, share)
    if _type(value) == "diff" and offset is None and function is None:
        return Dense(weight=_tensors(value)[0], scale=share)
    # At its own strength: "set" is the same at any, and ComfyUI's OFT grows with its square.
    strength, scale = (patch[0], 1 / one.unet) if one.unet != 0 else (1.0, 1.0)

    def computed(layer: nn.Module) -> Tensor:
        with torch.no_grad():
            return backend.difference(layer, (strength, *patch[1:]))

    return Dense(computed=computed, scale=scale)


def _share(one: ComposedNetwork, patch: Sequence[Any]) -> float:
    """A patch's strength over the network's: not 1 where blocks have their own (LoRA Block Weight)."""
    return float(patch[0]) / one.unet if one.unet != 0 else 1.0


def _type(value: Any) -> str:
    """The kind of a patch (patcher/lora.py, merge_lora_to_weight); Forge Neo has classes for them."""
    if hasattr(value, "weights"):
        return str(value.name)
    return "diff" if len(value) == 1 else str(value[0])


def _tensors(value: Any) -> Sequence[Any]:
    found: Sequence[Any] = getattr(value, "weights", None) or (value if len(value) == 1 else value[1])
    return found


def _output_slice(offset: Sequence[int] | None) -> OutputSlice | None:
    """(start, length) where an offset (dim, start, length) cuts the layer's outputs (fused qkv)."""
    return (int(offset[1]), int(offset[2])) if offset is not None and offset[0] == 0 else None


def _low_rank(
    tensors: Sequence[Any], module: nn.Module, output_slice: OutputSlice | None, share: float
) -> LowRank:
    """As merge_lora_to_weight multiplies it out; alpha is None where the file has none."""
    up, down, alpha, mid = (part.detach() if isinstance(part, Tensor) else part for part in tensors[:4])
    inputs = input_width(module) if down.dim() == 2 else None
    if inputs is not None and down.shape[1] < inputs:  # Flux tools have more inputs than Flux
        down = torch.cat((down, down.new_zeros(down.shape[0], inputs - down.shape[1])), dim=1)
    scale = 1.0 if alpha is None else float(alpha) / down.shape[0]
    return LowRank(down, up, mid, scale=scale * share, output_slice=output_slice)
