"""The reference for deltas: what merging adds to a layer's weight and bias, written without the router."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from loratorio_ext.networks.router import Delta, LowRank, OutputSlice, convolution_dims


def delta_weight(delta: Delta, module: nn.Module) -> tuple[Tensor | None, Tensor | None]:
    """ΔW and Δb as merging adds them to `module` at strength 1; None where the delta has no such part.

    Both of the shape of the module's parameters (zero outside an output slice), float32, or float64 where the
    delta is float64, on the delta's device.
    """
    weight: Tensor | None
    if isinstance(delta, LowRank):
        weight, bias = low_rank_product(delta), None
    else:
        given = delta.computed(module) if delta.computed is not None else delta.weight
        weight = None if given is None else upcast(given) * delta.scale
        bias = None if delta.bias is None else upcast(delta.bias)
    if weight is not None:
        if weight.dim() > 1:
            kernel = weight.shape[2:]
            dims = (1,) * convolution_dims(module) if kernel.numel() == 1 else kernel
            weight = weight.reshape(*weight.shape[:2], *dims)
        weight = whole_width(weight, delta.output_slice, module)
    return weight, None if bias is None else whole_width(bias, delta.output_slice, module)


def low_rank_product(delta: LowRank) -> Tensor:
    """ΔW = scale · up · (mid ·) down, [out or slice, in / groups, *kernel]."""
    up, down = upcast(delta.up).flatten(1), upcast(delta.down)
    if delta.mid is None:
        product = (up @ down.flatten(1)).reshape(up.shape[0], *down.shape[1:])
    else:
        core = torch.einsum("or,rs...->os...", up, upcast(delta.mid))
        product = torch.einsum("os...,si->oi...", core, down.flatten(1))
    return product * delta.scale


def upcast(tensor: Tensor) -> Tensor:
    """Without gradient, float32 or float64."""
    return tensor.detach().to(torch.float64 if tensor.dtype == torch.float64 else torch.float32)


def whole_width(part: Tensor, output_slice: OutputSlice | None, module: nn.Module) -> Tensor:
    """The rows of a slice with zeros around them."""
    if output_slice is None:
        return part
    start, length = output_slice
    whole = part.new_zeros(len(module.weight), *part.shape[1:])
    assert start + length <= len(whole)
    whole[start : start + length] = part
    return whole
