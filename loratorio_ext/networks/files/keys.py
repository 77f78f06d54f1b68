"""Which layer of a model a key of a network file belongs to.

A file's key is "<layer>.<part>". Layers are written in two styles, each with dialects: kohya's
("lora_unet_down_blocks_0_attentions_0_proj_in") and diffusers' and PEFT's
("unet.down_blocks.0.attentions.0.proj_in"). A `KeyMap` holds the canonical keys of one model; `split_key`
brings a file's keys to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

from torch import Tensor, nn

from loratorio_ext.networks.files.ldm import ldm_aliases
from loratorio_ext.networks.router import OutputSlice, convolution_dims, norm_kind

LayerKind = Literal["linear", "conv", "norm"]
# Component of a model → what kohya's keys of it begin with.
_PREFIXES = MappingProxyType(
    {"unet": ("lora_unet_",), "text_encoder": ("lora_te1_", "lora_te_"), "text_encoder_2": ("lora_te2_",)}
)


@dataclass(frozen=True)
class TargetLayer:
    """A layer that networks may touch.

    name: "<component>.<module path>". output_slice: (start, length) on the output width where the key means a
    part of a fused layer. shape: of the layer's weight (of the slice's rows), [out, in], [out, in / groups,
    *kernel] or [channels]; None if unknown, then nothing is checked.
    """

    name: str
    output_slice: OutputSlice | None = None
    shape: tuple[int, ...] | None = None
    kind: LayerKind = "linear"


KeyMap = Mapping[str, TargetLayer]

_OWN_NAMES = (
    *("alpha", "scale", "dora_scale", "diff", "diff_b", "w_norm", "b_norm", "on_input"),
    *("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
    *("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
    *("a1.weight", "a2.weight", "b1.weight", "b2.weight", "bm.weight"),
    *("oft_blocks", "oft_diag", "rescale"),
)
# What a file calls a part → what we call it. The longer first where one ends with another.
_PARTS = MappingProxyType(
    {
        **{
            f"{name}.weight": "down"
            for name in ("lora_down", "lora_A", "lora.down", "lora_linear_layer.down")
        },
        **{f"{name}.weight": "up" for name in ("lora_up", "lora_B", "lora.up", "lora_linear_layer.up")},
        "lora_B.bias": "up_bias",
        "lora_mid.weight": "mid",
        "lora_magnitude_vector.weight": "magnitude",
        "lora_magnitude_vector": "magnitude",
        **{name: name for name in (*_OWN_NAMES, "weight", "bias")},
    }
)
_PROCESSOR_PARTS = MappingProxyType(
    {"_lora.down.weight": "down", "_lora.up.weight": "up", "_lora.alpha": "alpha"}
)
# What a layer's name begins with → what its canonical key begins with: kohya's dialects, then LDM paths.
_KOHYA = MappingProxyType({"lora_": "lora_", "oft_": "lora_", "lycoris_": "lora_unet_"})
_DIALECTS = MappingProxyType(
    {**_KOHYA, "model.diffusion_model.": "lora_unet_", "diffusion_model.": "lora_unet_"}
)
_TEXT_PROJECTIONS = MappingProxyType(
    {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
)


class SplitKey(NamedTuple):
    """A file's key taken apart: canonical keys it may mean, best first, and the part's name ("": unknown)."""

    layers: tuple[str, ...]
    part: str


def _target(name: str, module: nn.Module) -> TargetLayer | None:
    """The layer with the weight's shape as the attributes tell it, for the stored weight may be packed."""
    weight = getattr(module, "weight", None)
    if convolution_dims(module) > 0:
        out, width = getattr(module, "out_channels", None), getattr(module, "in_channels", None)
        if isinstance(out, int) and isinstance(width, int):
            kernel, groups = getattr(module, "kernel_size", ()), getattr(module, "groups", 1)
            return TargetLayer(name, None, (out, width // groups, *kernel), "conv")
    elif norm_kind(module) is not None:
        if isinstance(weight, Tensor) and weight.dim() == 1:
            return TargetLayer(name, None, tuple(weight.shape), "norm")
    else:
        out, width = getattr(module, "out_features", None), getattr(module, "in_features", None)
        if isinstance(out, int) and isinstance(width, int) and weight is not None:
            return TargetLayer(name, None, (out, width), "linear")
    return None


def _spellings(component: str, path: str) -> tuple[str, ...]:
    """Module paths that files use. They keep "text_model.", which `CLIPTextModel` of transformers 5 lacks."""
    if component == "unet":
        return (path,)
    bare = path.removeprefix("text_model.")
    return (path, bare if bare != path else f"text_model.{path}")


def key_map(components: Mapping[str, nn.Module]) -> dict[str, TargetLayer]:
    """All canonical keys of a model made of diffusers' components.

    components: "unet" and, if the networks' text-encoder parts are wanted, "text_encoder", "text_encoder_2"
    (SDXL). Keys: diffusers' ("unet.conv_in"), kohya's ("lora_unet_conv_in"; text encoders "lora_te_" and
    "lora_te1_", with two of them "lora_te1_" and "lora_te2_"), and kohya's with LDM names of the UNet.
    Linear, convolution and norm layers only. Raises ValueError for an unknown component.
    """
    unknown = sorted(set(components) - set(_PREFIXES))
    if unknown:
        raise ValueError(f"unknown component {unknown[0]!r}; known are {', '.join(_PREFIXES)}")
    prefixes = dict(_PREFIXES)
    if "text_encoder_2" in components:
        prefixes["text_encoder"] = ("lora_te1_",)
    keys: dict[str, TargetLayer] = {}
    for component, model in components.items():
        modules = {path: module for path, module in model.named_modules() if path}
        found = {path: _target(f"{component}.{path}", module) for path, module in modules.items()}
        by_path = {path: layer for path, layer in found.items() if layer is not None}
        for path, layer in by_path.items():
            for spelling in _spellings(component, path):
                keys.setdefault(f"{component}.{spelling}", layer)
                for prefix in prefixes[component]:
                    keys.setdefault(prefix + spelling.replace(".", "_"), layer)
        if component == "unet":
            for alias, path in ldm_aliases([*modules]).items():
                if path in by_path:
                    keys.setdefault(alias, by_path[path])
    return keys


def _underscored(layer: str) -> tuple[str, ...]:
    """Kohya's spellings of a dotted canonical key, for hosts that know only those."""
    component, _, path = layer.partition(".")
    return tuple(prefix + path.replace(".", "_") for prefix in _PREFIXES.get(component, ()))


def _canonical(layer: str) -> tuple[str, ...]:
    """Canonical keys that a file's layer name may mean."""
    layer = layer.removeprefix("base_model.model.")
    for dialect, prefix in _DIALECTS.items():
        if layer.startswith(dialect):
            return (prefix + layer.removeprefix(dialect).replace(".", "_"),)
    layer = layer.replace(".processor.", ".")
    has_component = layer.partition(".")[0] in _PREFIXES
    dotted = (layer,) if has_component else (f"unet.{layer}", f"text_encoder.{layer}")
    return (*dotted, *(key for spelling in dotted for key in _underscored(spelling)))


def split_key(key: str) -> SplitKey:
    """Takes a file's key apart. Never raises; a key of no known form has the part "".

    Dialects: "base_model.model." before a layer, an adapter's name ("lora_A.default.weight"), attention
    processors ("attn1.processor.to_q_lora.down.weight"), no component at all ("down_blocks.0...", taken for
    the UNet's or else the text encoder's), "lycoris_", "oft_", and LDM paths
    ("diffusion_model.input_blocks.1.1...").
    """
    if key.startswith(tuple(_KOHYA)):
        layer, _, part = key.partition(".")
        return SplitKey(_canonical(layer), _PARTS.get(part, ""))
    pieces = key.rsplit(".", 3)
    if len(pieces) == 4 and pieces[1] in ("lora_A", "lora_B", "lora_magnitude_vector"):
        key = ".".join((pieces[0], pieces[1], pieces[3]))
    for ending, part in _PROCESSOR_PARTS.items():
        if key.endswith(ending):
            layer, _, last = key.removesuffix(ending).rpartition(".")
            if "self_attn" in layer:
                last = _TEXT_PROJECTIONS.get(last, last)
            elif last == "to_out":
                last = "to_out.0"
            return SplitKey(_canonical(f"{layer}.{last}"), part)
    for ending, part in _PARTS.items():
        if key.endswith(f".{ending}"):
            return SplitKey(_canonical(key[: -len(ending) - 1]), part)
    return SplitKey((key,), "")
