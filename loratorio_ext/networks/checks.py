"""Does a delta fit a layer? Told before anything runs, from attributes, not from the stored weight."""

from __future__ import annotations

import math

from torch import nn

from loratorio_ext.networks.delta import Delta, Dense, LowRank
from loratorio_ext.networks.kinds import convolution_dims, input_width, norm_kind, output_width

NEVER_CALLED = (nn.MultiheadAttention, nn.modules.linear.NonDynamicallyQuantizableLinear)
"""torch's attention and its `out_proj`: `out_proj.forward` never runs, and a hook on it would do nothing."""


def _integer(module: nn.Module, *names: str) -> int | None:
    for name in names:
        value = getattr(module, name, None)
        if isinstance(value, int):
            return value
    return None


def _kernel(module: nn.Module) -> tuple[int, ...]:
    """The module's kernel; () for a linear layer or a kernel of ones, as in `LowRank.kernel`."""
    dims = convolution_dims(module)
    kernel = getattr(module, "kernel_size", ())
    kernel = (kernel,) * dims if isinstance(kernel, int) else tuple(kernel) if dims else ()
    return () if math.prod(kernel) == 1 else kernel


def _bounds(delta: Delta, rows: int, width: int | None) -> str | None:
    if delta.output_slice is not None:
        start, length = delta.output_slice
        if width is not None and start + length > width:
            return f"its output slice {delta.output_slice} exceeds the layer's output width {width}"
    elif width is not None and rows != width:
        return f"it gives {rows} outputs; the layer has {width}"
    return None


def _misfit(delta: Delta, module: nn.Module) -> str | None:
    """Why the delta does not fit, or None."""
    if isinstance(module, NEVER_CALLED):
        return (
            "torch's MultiheadAttention reads the weights of its parts without calling them, so nothing "
            "can be added to their output; leave the layer out, or take a model with separate projections"
        )
    if getattr(module, "transposed", False):
        return "transposed convolutions cannot be routed"
    groups = _integer(module, "groups") or 1
    width_in, width = input_width(module), output_width(module)
    if groups > 1 and delta.output_slice is not None:
        return "an output slice of a convolution with groups cannot be routed"
    norm = norm_kind(module)
    if isinstance(delta, LowRank):
        if norm is not None:
            return "a normalisation takes dense deltas only"
        if width_in is not None and delta.down.shape[1] != width_in:
            return f"it takes {delta.down.shape[1]} inputs; the layer has {width_in}"
        if delta.kernel != _kernel(module):
            return f"its kernel is {delta.kernel or 1}; the layer's is {_kernel(module) or 1}"
        return _bounds(delta, delta.up.shape[0], width)
    return _dense_misfit(delta, module, width_in, width)


def _dense_misfit(delta: Dense, module: nn.Module, width_in: int | None, width: int | None) -> str | None:
    weight, bias = delta.weight, delta.bias
    if norm_kind(module) is not None:
        if delta.computed is not None or delta.output_slice is not None:
            return "a normalisation takes a given weight and bias of the whole width only"
        if weight is not None and weight.dim() != 1:
            return f"its weight has shape {tuple(weight.shape)}; a normalisation's has one dim"
    elif weight is not None:
        kernel = tuple(weight.shape[2:])
        kernel = () if math.prod(kernel) == 1 else kernel
        if weight.dim() < 2 or kernel != _kernel(module):
            return f"its weight has shape {tuple(weight.shape)}; the layer's kernel is {_kernel(module) or 1}"
        if width_in is not None and weight.shape[1] != width_in:
            return f"it takes {weight.shape[1]} inputs; the layer has {width_in}"
    for part in (weight, bias):
        if part is not None:
            reason = _bounds(delta, part.shape[0], width)
            if reason is not None:
                return reason
    return None


def check_fits(delta: Delta, name: str, module: nn.Module) -> None:
    """Raise ValueError, naming the layer and what does not fit, if the delta cannot act on the module."""
    reason = _misfit(delta, module)
    if reason is not None:
        raise ValueError(f"layer {name} ({type(module).__name__}): a delta does not fit: {reason}")
