"""Types of networks (LoRA, LoHa, LoKr, ...): from the parts that a file holds for one layer to deltas."""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from functools import partial

import torch
from torch import Tensor

from loratorio_ext.networks.files import computed
from loratorio_ext.networks.files.computed import Computed, LayerPartsError, Parts, Rebuild
from loratorio_ext.networks.files.keys import TargetLayer
from loratorio_ext.networks.router import Delta, Dense, LowRank, kernel_of

RankScale = Callable[[int | None], float]
"""rank → alpha / rank of a layer that has no alpha of its own; None for a LoKr of whole factors."""

# Types by a part that only they have: name, that part, parts they need, parts they may have.
_TYPES: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("LoRA", "up", ("down", "up"), ("mid", "up_bias")),
    ("LoRA", "down", ("down", "up"), ("mid", "up_bias")),
    ("LoHa", "hada_w1_a", ("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), ("hada_t1", "hada_t2")),
    ("LoKr", "lokr_w1", ("lokr_w1",), ("lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")),
    ("LoKr", "lokr_w1_a", ("lokr_w1_a", "lokr_w1_b"), ("lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2")),
    ("GLoRA", "a1.weight", ("a1.weight", "a2.weight", "b1.weight", "b2.weight"), ("bm.weight",)),
    ("(IA)³", "on_input", ("on_input", "weight"), ()),
    ("OFT", "oft_blocks", ("oft_blocks",), ("rescale",)),
    ("OFT", "oft_diag", ("oft_diag",), ("rescale",)),
    ("full", "diff", ("diff",), ()),
    ("norm", "w_norm", ("w_norm",), ("b_norm",)),
    ("norm", "b_norm", ("b_norm",), ()),
)
_WITHOUT_ALPHA = ("diff", "on_input", "w_norm", "b_norm", "oft_diag")
_COMMON = frozenset({"alpha", "scale", "scalar", "dora_scale", "magnitude", "bias", "diff_b"})


def needs_alpha(parts: Container[str]) -> bool:
    """Whether alpha counts for a layer with these parts.

    It does not for types without a rank, nor for a LoKr of whole factors, where trainers write any number,
    infinite in float16 (LyCORIS docs/Algo-List.md, which advises dims of 10000 and more).
    """
    return not (("lokr_w1" in parts and "lokr_w2" in parts) or any(part in parts for part in _WITHOUT_ALPHA))


def _number(parts: Parts, name: str) -> float | None:
    if name not in parts:
        return None
    if parts[name].numel() != 1:
        raise _wrong_shape(name, parts[name], "it must be one number")
    return float(parts[name])


def _wrong_shape(what: str, tensor: Tensor, why: str) -> LayerPartsError:
    return LayerPartsError(f"{what} has shape {tuple(tensor.shape)}; {why}")


def _type_of(parts: Parts) -> str | None:
    """The type's name; None where only biases are given. LayerPartsError for a mixture or an unknown."""
    fits = [entry for entry in _TYPES if entry[1] in parts]
    names = sorted({entry[0] for entry in fits})
    if len(names) > 1:
        raise LayerPartsError(f"parts of several types at once: {', '.join(names)}")
    if not fits:
        rest = sorted(set(parts) - _COMMON)
        whole = "; if it is a weight of the model itself and no change of it, save without modules_to_save"
        if rest:
            reason = f"unknown or incomplete type with the parts {', '.join(rest)}"
            raise LayerPartsError(reason + (whole if rest == ["weight"] else ""))
        return None
    _, _, needs, may = fits[0]
    missing = sorted(set(needs) - set(parts))
    if missing:
        raise LayerPartsError(f"{names[0]} without its part {missing[0]}")
    surplus = sorted(set(parts) - set(needs) - set(may) - _COMMON)
    if surplus:
        raise LayerPartsError(f"{names[0]} with a part that does not belong to it: {surplus[0]}")
    return names[0]


def _magnitude(parts: Parts, layer: TargetLayer) -> Tensor | None:
    """DoRA's magnitude, shaped to broadcast over the weight's outputs or its inputs."""
    magnitude = parts.get("magnitude", parts.get("dora_scale"))
    if magnitude is None:
        return None
    if layer.shape is None or len(layer.shape) < 2:
        raise LayerPartsError("DoRA on a layer whose weight shape is not known or has one dim")
    out, width, *kernel = layer.shape
    # PEFT: one number an output. LyCORIS: [out, 1, ...] or [1, in, ...].
    of_outputs = "magnitude" in parts or magnitude.dim() < 2 or magnitude.shape[0] != 1 or out == 1
    if magnitude.numel() != (out if of_outputs else width):
        raise _wrong_shape("DoRA's magnitude", magnitude, f"the layer's weight has {layer.shape}")
    ones = (1,) * len(kernel)
    return magnitude.to(torch.float32).reshape((out, 1, *ones) if of_outputs else (1, width, *ones))


def _low_rank(parts: Parts, layer: TargetLayer, scale: float) -> LowRank:
    delta = LowRank(parts["down"], parts["up"], parts.get("mid"), scale, layer.output_slice)
    if layer.shape is not None:
        got = (delta.up.shape[0], delta.down.shape[1], *delta.kernel)
        expected = (*layer.shape[:2], *kernel_of(layer.shape))
        if got != expected:
            raise LayerPartsError(f"it is made for a weight of shape {got}; the model's layer has {expected}")
    return delta


def _shaped(tensor: Tensor, layer: TargetLayer, what: str) -> Tensor:
    if layer.shape is None:
        return tensor
    if tensor.numel() != math.prod(layer.shape) or tensor.shape[:1] != layer.shape[:1]:
        raise _wrong_shape(what, tensor, f"the model's layer has {layer.shape}")
    return tensor.reshape(layer.shape)


def _bias(tensor: Tensor, layer: TargetLayer, what: str) -> Tensor:
    if layer.shape is not None and tensor.numel() != layer.shape[0]:
        raise _wrong_shape(what, tensor, f"the layer has {layer.shape[0]} outputs")
    return tensor.flatten()


def _rank(parts: Parts, name: str, dims: int = 1) -> int:
    if parts[name].dim() == 0:
        raise _wrong_shape(name, parts[name], "it must have 2 dims or more")
    return min(parts[name].shape[:dims])


def _rebuild(kind: str, parts: Parts, layer: TargetLayer) -> tuple[Rebuild, int | None, bool]:
    """How ΔW of a dense type is computed, its rank (None: no alpha), and whether it reads W."""
    if kind == "LoRA":
        return computed.low_rank, _rank(parts, "down"), False
    if kind == "LoHa":
        if ("hada_t1" in parts) != ("hada_t2" in parts):
            raise LayerPartsError("LoHa with only one of its two Tucker cores")
        return computed.loha, _rank(parts, "hada_w1_b"), False
    if kind == "LoKr":
        if "lokr_w2" not in parts and not {"lokr_w2_a", "lokr_w2_b"} <= set(parts):
            raise LayerPartsError("LoKr without its second factor")
        low = next((name for name in ("lokr_w1_b", "lokr_w2_b") if name in parts), None)
        return computed.lokr, None if low is None else _rank(parts, low), False
    if kind == "GLoRA":
        return computed.glora, _rank(parts, "a1.weight", dims=2), True
    if kind == "(IA)³":
        return partial(computed.ia3, dim=1 if _number(parts, "on_input") else 0), None, True
    if kind == "full":
        return lambda parts, _: parts["diff"], None, False
    if "oft_diag" in parts:
        return computed.rotated, None, True
    blocks = parts["oft_blocks"]
    if blocks.dim() not in (3, 4):
        raise LayerPartsError(f"OFT with blocks of shape {tuple(blocks.shape)}; 3 or 4 dims are known")
    constraint = (_number(parts, "alpha") or 0.0) * (layer.shape[0] if layer.shape else 0)
    return partial(computed.oft, constraint=constraint), None, True


def layer_deltas(parts: Parts, layer: TargetLayer, rank_scale: RankScale) -> tuple[Delta, ...]:
    """The deltas of one layer, which add up: most often one.

    parts: by our part names (keys.py), finite floating tensors on the CPU, without empty ones. rank_scale:
    gives alpha / rank where the parts have neither alpha nor scale. Raises ValueError for parts that are
    incomplete, contradict each other, or do not fit the layer.
    """
    kind = _type_of(parts)
    if layer.is_norm and kind not in ("norm", "full", None):
        raise LayerPartsError(f"{kind} on a norm layer")
    cut = layer.output_slice
    alpha, own_scale = _number(parts, "alpha"), _number(parts, "scale")

    def scale_of(rank: int | None) -> float:
        if own_scale is not None:
            return own_scale
        if rank is None:
            return rank_scale(None) if kind == "LoKr" and alpha is None else 1.0
        return rank_scale(rank) if alpha is None else alpha / rank

    deltas: list[Delta] = []
    scale = 1.0
    magnitude = _magnitude(parts, layer)
    if kind == "LoRA" and magnitude is None:
        scale = scale_of(_rank(parts, "down"))
        deltas.append(_low_rank(parts, layer, scale))
    elif kind == "norm" or (kind == "full" and magnitude is None):
        name = "diff" if kind == "full" else "w_norm"
        weight = _shaped(parts[name], layer, name) if name in parts else None
        norm_bias = _bias(parts["b_norm"], layer, "b_norm") if "b_norm" in parts else None
        deltas.append(Dense(weight, None, norm_bias, scale_of(None), cut))
    elif kind is not None:
        rebuild, rank, needs_weight = _rebuild(kind, parts, layer)
        scale = scale_of(rank)
        used = {name: part for name, part in parts.items() if name not in _COMMON}
        recipe = Computed(rebuild, used, scale, layer.shape, needs_weight, magnitude, cut)
        recipe.check()
        deltas.append(Dense(None, recipe, None, 1.0, cut))

    for name, factor in (("diff_b", 1.0), ("up_bias", scale)):
        if name in parts:
            deltas.append(Dense(bias=_bias(parts[name], layer, name) * factor, output_slice=cut))
    if "bias" in parts:
        bias = parts["bias"]
        # A1111 adds it to ΔW before the scale (network.py, finalize_updown); small ones are Δb.
        if layer.shape is not None and bias.numel() == math.prod(layer.shape) and len(layer.shape) > 1:
            deltas.append(Dense(weight=bias.reshape(layer.shape), scale=scale, output_slice=cut))
        else:
            deltas.append(Dense(bias=_bias(bias, layer, "bias"), output_slice=cut))
    if not deltas:
        raise LayerPartsError(f"it holds nothing but {', '.join(sorted(parts))}")
    return tuple(deltas)
