"""What kind of layer a module is, and whether a delta fits it: told from attributes, before anything runs.

Hosts build layers from classes of their own (Forge's operations are not `torch.nn.Linear`), and the stored
weight may be packed or quantised: neither `isinstance` nor `module.weight` is relied upon.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import nn

from loratorio_ext.networks.router.delta import Delta, LowRank, kernel_of

NormKind = Literal["layer", "group", "rms"]

NEVER_CALLED = (nn.MultiheadAttention, nn.modules.linear.NonDynamicallyQuantizableLinear)
"""torch's attention and its `out_proj`: `out_proj.forward` never runs, and a hook on it would do nothing."""


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
        return channels // _groups(module)
    features = getattr(module, "in_features", None)
    if isinstance(features, int):
        return features
    shape = _shape(module)
    return shape[1] if len(shape) == 2 else None


def check_fits(delta: Delta, name: str, module: nn.Module) -> None:
    """Raise ValueError, naming the layer and what does not fit, if the delta cannot act on the module."""
    reason = _unmatched(delta, module)
    if reason is not None:
        raise ValueError(f"layer {name} ({type(module).__name__}): a delta does not fit: {reason}")


class FittedLayers(dict[str, tuple[Delta, ...]]):
    """One network's deltas by layer name, each checked once by `add`; ``modules`` has the layers' modules."""

    def __init__(self) -> None:
        super().__init__()
        self.modules: dict[str, nn.Module] = {}

    def add(self, name: str, module: nn.Module, deltas: Sequence[Delta]) -> None:
        """Add deltas to those that the layer has already.

        Raises ValueError, and adds none of them, where one does not fit the module (`check_fits`).
        """
        for delta in deltas:
            check_fits(delta, name, module)
        if deltas:
            self[name] = (*self.get(name, ()), *deltas)
            self.modules[name] = module


def _unmatched(delta: Delta, module: nn.Module) -> str | None:
    """Why the delta does not fit, or None."""
    if isinstance(module, NEVER_CALLED):
        return (
            "torch's MultiheadAttention reads the weights of its parts without calling them, so nothing "
            "can be added to their output; leave the layer out, or take a model with separate projections"
        )
    if getattr(module, "transposed", False):
        return "transposed convolutions cannot be routed"
    if _groups(module) > 1 and delta.output_slice is not None:
        return "an output slice of a convolution with groups cannot be routed"
    # Shape of ΔW, as far as it is known before it is computed, and numbers of outputs.
    if isinstance(delta, LowRank):
        shape: tuple[int, ...] | None = (len(delta.up), delta.down.shape[1], *delta.kernel)
        outputs = [len(delta.up)]
    else:
        shape = None if delta.weight is None else tuple(delta.weight.shape)
        outputs = [len(part) for part in (delta.weight, delta.bias) if part is not None]
    if norm_kind(module) is not None:
        if isinstance(delta, LowRank):
            return "a normalisation takes dense deltas only"
        if delta.computed is not None or delta.output_slice is not None:
            return "a normalisation takes a given weight and bias of the whole width only"
        if shape is not None and len(shape) != 1:
            return f"its weight has shape {shape}; a normalisation's has one dim"
    elif shape is not None:
        kernel, width_in = _kernel(module), input_width(module)
        if len(shape) < 2 or kernel_of(shape) != kernel:
            return f"its weight has shape {shape}; the layer's kernel is {kernel or 1}"
        if width_in is not None and shape[1] != width_in:
            return f"it takes {shape[1]} inputs; the layer has {width_in}"
    width = output_width(module)
    if width is None:
        return None
    if delta.output_slice is not None:
        exceeds = sum(delta.output_slice) > width
        return f"its output slice {delta.output_slice} exceeds the output width {width}" if exceeds else None
    return next((f"it gives {one} outputs; the layer has {width}" for one in outputs if one != width), None)


def _kernel(module: nn.Module) -> tuple[int, ...]:
    """The module's kernel, written as in `LowRank.kernel`."""
    return kernel_of((0, 0, *module.kernel_size)) if convolution_dims(module) else ()  # type: ignore[misc]


def _groups(module: nn.Module) -> int:
    groups = getattr(module, "groups", None)
    return groups if isinstance(groups, int) and groups else 1


def _shape(module: nn.Module) -> tuple[int, ...]:
    """Shape of the weight as numbers; () where it is not known.

    A weight in 4 bits is stored as a column of packed bytes, and its state tells the shape (bitsandbytes).
    """
    weight = getattr(module, "weight", None)
    state = getattr(weight, "quant_state", None)
    shape = getattr(weight if state is None else state, "shape", None)
    return tuple(int(side) for side in shape) if shape is not None else ()
