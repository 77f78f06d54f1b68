"""Which layer of a model a key of a network file belongs to.

A file's key is "<layer>.<part>". Layers are written in two styles, each with dialects: kohya's
("lora_unet_down_blocks_0_attentions_0_proj_in") and diffusers' and PEFT's
("unet.down_blocks.0.attentions.0.proj_in"). A `KeyMap` holds the canonical keys of one model; `split_key`
brings a file's keys to them.

SDXL networks made by kohya's trainer carry names of the UNet's original (LDM, SGM) layout
(`lora_unet_input_blocks_4_1_...`), those for SD 1.x and 2.x diffusers names. LDM numbers every resnet and
every sampler of the way down, and every resnet of the way up, in one row (CompVis latent-diffusion,
ldm/modules/diffusionmodules/openaimodel.py, `UNetModel.__init__`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from torch import Tensor, nn

from loratorio_ext.networks.router import OutputSlice, convolution_dims, norm_kind

# Component of a model → what kohya's keys of it begin with.
_PREFIXES = MappingProxyType(
    {"unet": ("lora_unet_",), "text_encoder": ("lora_te1_", "lora_te_"), "text_encoder_2": ("lora_te2_",)}
)


@dataclass(frozen=True)
class TargetLayer:
    """A layer that networks may touch.

    name: "<component>.<module path>". output_slice: (start, length) on the output width where the key means a
    part of a fused layer. shape: of the layer's weight (of the slice's rows), [out, in], [out, in / groups,
    *kernel] or [channels]; None if unknown, then nothing is checked. is_norm: a normalisation, not a linear
    layer or a convolution.
    """

    name: str
    output_slice: OutputSlice | None = None
    shape: tuple[int, ...] | None = None
    is_norm: bool = False


KeyMap = Mapping[str, TargetLayer]

_OWN_NAMES = (
    *(
        "alpha",
        "scale",
        "scalar",
        "dora_scale",
        "magnitude",
        "diff",
        "diff_b",
        "w_norm",
        "b_norm",
        "on_input",
    ),
    *("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2"),
    *("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2"),
    *("a1.weight", "a2.weight", "b1.weight", "b2.weight", "bm.weight"),
    *("oft_blocks", "oft_diag", "rescale"),
)
_DOWN = ("lora_down", "lora_A", "lora.down", "lora_linear_layer.down")
_UP = ("lora_up", "lora_B", "lora.up", "lora_linear_layer.up")
# What a file calls a part → what we call it.
_PARTS = MappingProxyType(
    {
        **dict.fromkeys((f"{name}.weight" for name in _DOWN), "down"),
        **dict.fromkeys((f"{name}.weight" for name in _UP), "up"),
        "lora_B.bias": "up_bias",
        "lora_mid.weight": "mid",
        "lora_magnitude_vector.weight": "magnitude",
        "lora_magnitude_vector": "magnitude",
        **{name: name for name in (*_OWN_NAMES, "weight", "bias")},
    }
)
_PROCESSOR_PARTS = (("_lora.down.weight", "down"), ("_lora.up.weight", "up"), ("_lora.alpha", "alpha"))
# What a layer's name begins with → what its canonical key begins with.
_KOHYA = MappingProxyType({"lora_": "lora_", "oft_": "lora_", "lycoris_": "lora_unet_"})
# Put before a layer's name or a component's: PEFT, torch.compile, DataParallel, a pipeline's variable.
_WRAPPERS = ("base_model.model.", "_orig_mod.", "module.", "pipe.")
# Components by all their names. ComfyUI's (comfy/lora.py, `model_lora_keys_clip`; OneTrainer's COMFY_LORA in
# modules/model/), OMI's (OneTrainer before 2026), and those of LDM's checkpoints.
_COMPONENTS = MappingProxyType(
    {
        **{f"{name}.": name for name in _PREFIXES},
        **dict.fromkeys(("model.diffusion_model.", "diffusion_model."), "unet"),
        **{
            f"{before}{clip}.{after}": component
            for clip, component in (("l", "text_encoder"), ("h", "text_encoder"), ("g", "text_encoder_2"))
            for before in ("text_encoders.clip_", "clip_")
            for after in ("transformer.", "")
        },
        "cond_stage_model.transformer.": "text_encoder",
        "conditioner.embedders.0.transformer.": "text_encoder",
        **dict.fromkeys(("te1.", "text_encoder_1.", "text_encoder.transformer."), "text_encoder"),
        **dict.fromkeys(("te2.", "text_encoder_2.transformer."), "text_encoder_2"),
        "model.unet.": "unet",
    }
)
# All of them, in any order, at the beginning of a key, the longer first; the group is the last component.
_BEGINNING = re.compile(
    "(?:{}|({}))*".format(
        *("|".join(map(re.escape, sorted(each, key=len, reverse=True))) for each in (_WRAPPERS, _COMPONENTS))
    )
)
_TEXT_PROJECTIONS = MappingProxyType(
    {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
)
# Diffusers' names → LDM's: of layers in resnets and downsamplers, and of layers outside the blocks.
_RESNET = MappingProxyType(
    {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
)
_RENAMED = MappingProxyType({"resnets": _RESNET, "downsamplers": MappingProxyType({"conv": "op"})})
_ENDS = MappingProxyType(
    {
        "conv_in": "input_blocks.0.0",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "class_embedding.linear_1": "label_emb.0.0",
        "class_embedding.linear_2": "label_emb.0.2",
        "add_embedding.linear_1": "label_emb.0.0",
        "add_embedding.linear_2": "label_emb.0.2",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
)
_PLACE = re.compile(
    r"(down_blocks\.[0-9]{1,3}|up_blocks\.[0-9]{1,3}|mid_block)\."
    r"(resnets|attentions|downsamplers|upsamplers)\.([0-9]{1,3})(?:\.(.+))?"
)


def _ldm_prefixes(places: Iterable[re.Match[str]]) -> dict[str, str]:
    """Diffusers prefix → LDM prefix of every resnet, attention and sampler of a UNet.

    For example "down_blocks.1.attentions.0" → "input_blocks.4.1" and "up_blocks.0.upsamplers.0" →
    "output_blocks.2.2".
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)  # block → how many parts of each kind it has
    for place in places:
        parts = counts[place[1]]
        parts[place[2]] = max(parts[place[2]], int(place[3]) + 1)

    prefixes: dict[str, str] = {}
    number = {"down": 1, "up": 0}  # input_blocks.0 is conv_in
    for block in sorted(counts.keys() - {"mid_block"}, key=lambda name: int(name.rpartition(".")[2])):
        parts, way = counts[block], block.partition("_")[0]
        ldm = "input_blocks" if way == "down" else "output_blocks"
        for j in range(parts["resnets"]):
            prefixes[f"{block}.resnets.{j}"] = f"{ldm}.{number[way]}.0"
            if parts["attentions"]:
                prefixes[f"{block}.attentions.{j}"] = f"{ldm}.{number[way]}.1"
            number[way] += 1
        if parts["downsamplers"]:
            prefixes[f"{block}.downsamplers.0"] = f"{ldm}.{number[way]}.0"
            number[way] += 1
        if parts["upsamplers"]:  # it shares the place of the block's last resnet
            prefixes[f"{block}.upsamplers.0"] = f"{ldm}.{number[way] - 1}.{2 if parts['attentions'] else 1}"
    middle = counts["mid_block"]
    for j in range(middle["resnets"]):
        prefixes[f"mid_block.resnets.{j}"] = f"middle_block.{2 * j if middle['attentions'] else j}"
        if middle["attentions"] and j + 1 < middle["resnets"]:
            prefixes[f"mid_block.attentions.{j}"] = f"middle_block.{2 * j + 1}"
    return prefixes


def ldm_names(module_names: Iterable[str]) -> dict[str, str]:
    """Diffusers module path → LDM module path, for the modules that have one, in the order given.

    module_names: all module paths of one diffusers UNet (`named_modules`); the structure is read from them.
    """
    places = {name: _PLACE.fullmatch(name) for name in module_names}
    prefixes = _ldm_prefixes(place for place in places.values() if place is not None)
    result: dict[str, str] = {}
    for name, place in places.items():
        if name in _ENDS:
            result[name] = _ENDS[name]
        if place is None or place[4] is None:
            continue
        prefix = prefixes.get(f"{place[1]}.{place[2]}.{place[3]}")
        renamed = _RENAMED.get(place[2])
        rest = place[4] if renamed is None else renamed.get(place[4])
        if prefix is not None and rest is not None:
            result[name] = f"{prefix}.{rest}"
    return result


def _target(name: str, module: nn.Module) -> TargetLayer | None:
    """The layer with the weight's shape as the attributes tell it, for the stored weight may be packed."""
    weight, is_convolution = getattr(module, "weight", None), convolution_dims(module) > 0
    if norm_kind(module) is not None and not is_convolution:
        if not isinstance(weight, Tensor) or weight.dim() != 1:
            return None
        return TargetLayer(name, None, tuple(weight.shape), is_norm=True)
    what = "channels" if is_convolution else "features"
    out, width = getattr(module, f"out_{what}", None), getattr(module, f"in_{what}", None)
    if not isinstance(out, int) or not isinstance(width, int):
        return None
    if is_convolution:
        kernel, groups = getattr(module, "kernel_size", ()), getattr(module, "groups", 1)
        return TargetLayer(name, None, (out, width // groups, *kernel))
    return None if weight is None else TargetLayer(name, None, (out, width))


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
        ldm = ldm_names(modules) if component == "unet" else {}
        for path, module in modules.items():
            layer = _target(f"{component}.{path}", module)
            if layer is None:
                continue
            # Files keep "text_model.", which `CLIPTextModel` of transformers 5 lacks.
            bare = path.removeprefix("text_model.")
            for spelling in (path,) if component == "unet" else (bare, f"text_model.{bare}"):
                keys.setdefault(f"{component}.{spelling}", layer)
                for prefix in prefixes[component]:
                    keys.setdefault(prefix + spelling.replace(".", "_"), layer)
            if path in ldm:
                keys.setdefault(f"lora_unet_{ldm[path].replace('.', '_')}", layer)
    return keys


def _without_prefixes(layer: str) -> tuple[str, str | None]:
    """(the layer without the prefixes of tools and components, in any order; the component they name)."""
    found = _BEGINNING.match(layer)
    return (layer, None) if found is None else (layer[found.end() :], _COMPONENTS.get(found[1]))


def _canonical(layer: str) -> tuple[str, ...]:
    """Canonical keys that a file's layer may mean: dotted, then kohya's for hosts that know only those."""
    layer, component = _without_prefixes(layer)
    for dialect, prefix in _KOHYA.items():
        if layer.startswith(dialect):
            return (prefix + layer.removeprefix(dialect).replace(".", "_"),)
    layer = layer.replace(".processor.", ".")
    components = ("unet", "text_encoder") if component is None else (component,)
    dotted = tuple(f"{each}.{layer}" for each in components)
    kohya = tuple(p + layer.replace(".", "_") for each in components for p in _PREFIXES[each])
    return (*dotted, *kohya)


def split_key(key: str) -> tuple[tuple[str, ...], str]:
    """(canonical keys of layers that a file's key may mean, best first; our name of its part, "": unknown).

    Dialects: prefixes of tools and components in any order ("base_model.model.unet."), an adapter's name
    ("lora_A.default.weight"), attention processors ("attn1.processor.to_q_lora.down.weight"), no component at
    all ("down_blocks.0...", taken for the UNet's or else the text encoder's), "lycoris_", "oft_", and LDM
    paths ("diffusion_model.input_blocks.1.1...").
    """
    bare = _without_prefixes(key)[0]
    if bare.startswith(tuple(_KOHYA)):
        layer, _, part = bare.partition(".")
        return _canonical(layer), _PARTS.get(part, "")
    pieces = key.rsplit(".", 3)
    if len(pieces) == 4 and pieces[1] in ("lora_A", "lora_B", "lora_magnitude_vector"):
        key = ".".join((pieces[0], pieces[1], pieces[3]))
    for ending, part in _PROCESSOR_PARTS:
        if key.endswith(ending):
            layer, _, last = key.removesuffix(ending).rpartition(".")
            if "self_attn" in layer:
                last = _TEXT_PROJECTIONS.get(last, last)
            elif last == "to_out":
                last = "to_out.0"
            return _canonical(f"{layer}.{last}"), part
    for count in (3, 2, 1):  # the longest first
        named, *own_ending = key.rsplit(".", count)
        if (own := _PARTS.get(".".join(own_ending))) is not None:
            return _canonical(named), own
    return (key,), ""


def owners(key: str) -> tuple[str, ...]:
    """Canonical keys of the layers that a file's key may be an unknown part of."""
    return tuple(name for count in range(1, 4) for name in _canonical(key.rsplit(".", count)[0]))
