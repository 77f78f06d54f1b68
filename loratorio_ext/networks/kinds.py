"""What kind of layer a module is, told from its attributes.

Hosts build layers from classes of their own (Forge's operations are not `torch.nn.Linear`), and the stored
weight may be packed or quantised: neither `isinstance` nor `module.weight` is relied upon.
"""

from __future__ import annotations

from typing import Literal

from torch import nn

NormKind = Literal["layer", "group", "rms"]


def convolution_dims(module: nn.Module) -> int:
    """Number of spatial dims of a convolution (1, 2 or 3); 0 for every other layer."""
    kernel = getattr(module, "kernel_size", None)
    if not isinstance(kernel, tuple) or not hasattr(module, "stride") or not hasattr(module, "padding"):
        return 0
    return len(kernel)


def norm_kind(module: nn.Module) -> NormKind | None:
    """Which normalisation a module is; None if it is none."""
    if "RMSNorm" in type(module).__name__:
        return "rms"
    if hasattr(module, "num_groups") and hasattr(module, "eps"):
        return "group"
    if hasattr(module, "normalized_shape"):
        return "layer"
    return None


def output_width(module: nn.Module) -> int | None:
    """Width of the layer's output as its attributes tell it, else from the weight's shape, else None."""
    for name in ("out_features", "out_channels", "num_channels"):
        value = getattr(module, name, None)
        if isinstance(value, int):
            return value
    shape = _shape(module)
    return shape[0] if shape else None


def input_width(module: nn.Module) -> int | None:
    """Width of the layer's input (of one group) as its attributes tell it, else a linear weight's."""
    channels = getattr(module, "in_channels", None)
    if isinstance(channels, int):
        return channels // (getattr(module, "groups", None) or 1)
    features = getattr(module, "in_features", None)
    if isinstance(features, int):
        return features
    shape = _shape(module)
    return shape[1] if len(shape) == 2 else None


def _shape(module: nn.Module) -> tuple[int, ...]:
    """Shape of the weight as numbers; () where it is not known.

    A weight in 4 bits is stored as a column of packed bytes, and its state tells the shape (bitsandbytes).
    """
    weight = getattr(module, "weight", None)
    state = getattr(weight, "quant_state", None)
    shape = getattr(weight if state is None else state, "shape", None)
    return tuple(int(side) for side in shape) if shape is not None else ()
