"""A network as read from a file: its deltas by layer name, or why the file cannot be used with the model."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

import torch
from torch import Tensor

from loratorio_ext.networks.files.container import NetworkFileError, read_header, read_tensors
from loratorio_ext.networks.files.keys import KeyMap, split_key
from loratorio_ext.networks.files.types import layer_deltas
from loratorio_ext.networks.problems import shown
from loratorio_ext.networks.router import Delta

_BY_WIDTH = MappingProxyType(
    {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "SDXL", 1280: "the SDXL refiner"}
)
# In this order: Flux has some of SD3's names.
_BY_NAME: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Flux", ("double_blocks", "single_blocks", "single_transformer_blocks")),
    ("Stable Diffusion 3", ("joint_blocks", "add_q_proj", "lora_te3_", "text_encoder_3.")),
    ("a ControlNet", ("control_model.", "controlnet_")),
    ("a textual inversion embedding", ("emb_params", "string_to_param")),
)
_CONTEXT_LAYERS = ("attn2_to_k", "attn2.to_k", "attn2_to_v", "attn2.to_v", "attn2.processor.to_k")
_WHOLE_MODELS = (
    *("model.diffusion_model.", "first_stage_model.", "down_blocks.", "text_model.", "encoder.", "conv_in."),
)
# Parts whose second dim is the layer's input width.
_INPUT_PARTS = ("lora_down.weight", "lora_A.weight", "down.weight", "hada_w1_b", "diff", "a2.weight")

Component = Literal["unet", "text_encoder", "text_encoder_2"]


@dataclass(frozen=True, eq=False)
class Network:
    """One network as read from a file.

    name: the file's stem, or the name that a tag uses. layers: layer name ("unet.down_blocks.0...to_q") → its
    deltas, which add up. metadata: the file's header, hostile text. unmatched: keys of the file that no layer
    of this model has.
    """

    name: str
    layers: Mapping[str, tuple[Delta, ...]]
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    unmatched: tuple[str, ...] = ()

    def part(self, component: Component) -> dict[str, tuple[Delta, ...]]:
        """The layers of one component, names kept; "text_encoder" also gives those of "text_encoder_2".

        Raises ValueError for an unknown component.
        """
        if component not in get_args(Component):
            known = ", ".join(map(repr, get_args(Component)))
            raise ValueError(f"component is {component!r}; it must be one of {known}")
        prefixes = ("text_encoder.", "text_encoder_2.") if component == "text_encoder" else (f"{component}.",)
        return {name: deltas for name, deltas in self.layers.items() if name.startswith(prefixes)}


def _adapter_config(metadata: Mapping[str, str]) -> Mapping[str, object]:
    """What PEFT and diffusers write into the metadata ("lora_adapter_metadata"), hostile."""
    try:
        values = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except (ValueError, RecursionError):
        values = {}
    return values if isinstance(values, dict) else {}


def _scale(config: Mapping[str, object], layer: str, rank: int) -> float:
    """Scale alpha / rank (rsLoRA: alpha / √rank) of a layer, 1 where the config says nothing usable."""
    component, _, path = layer.partition(".")
    prefix = f"{component}." if any(key.startswith(f"{component}.") for key in config) else ""
    alpha = config.get(f"{prefix}lora_alpha")
    patterns = config.get(f"{prefix}alpha_pattern")
    for pattern, own in patterns.items() if isinstance(patterns, dict) else ():
        if path == pattern or path.endswith(f".{pattern}"):
            alpha = own
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < 1e6:
        return 1.0
    rooted = config.get(f"{prefix}use_rslora") is True
    return float(alpha) / (math.sqrt(rank) if rooted else rank)


def _by_layer(
    path: Path, file_keys: Iterable[str], keys: KeyMap
) -> tuple[dict[str, dict[str, str]], tuple[str, ...]]:
    """(key of the model's layer → our part names → the file's keys, keys of no layer of this model)."""
    found: dict[str, dict[str, str]] = {}
    unmatched: list[str] = []
    for key in file_keys:
        layers, part = split_key(key)
        name = next((candidate for candidate in layers if candidate in keys), None)
        if name is None:
            unmatched.append(key)
            continue
        if not part:
            raise NetworkFileError(path, f"{shown(key, 120)} is a part of an unknown type of network")
        first = found.setdefault(name, {}).setdefault(part, key)
        if first != key:
            raise NetworkFileError(path, f"{shown(key, 120)} and {shown(first, 120)} mean the same weight")
    return found, tuple(unmatched)


def load_network(path: str | Path, keys: KeyMap) -> Network:
    """Reads a network file for a model.

    keys: the model's layers (`key_map`, with a host's own additions). Tensors stay in the file's dtype, on
    the CPU; only those that belong to a layer are read. alpha: of the layer, else of PEFT's metadata, else
    the rank. A layer that is written twice, in two styles, counts once if both say the same.

    Raises NetworkFileError, which names the file, the reason and what to do: unreadable, pickle, truncated,
    not safetensors, not finite, no matching key, made for another model, incomplete or unknown types.
    """
    path = Path(path)
    header = read_header(path)
    found, unmatched = _by_layer(path, header.shapes, keys)
    if not found:
        reason = f"none of its {len(header.shapes)} keys belongs to a layer of this model"
        reason += "".join(f" (the first is {shown(key, 120)})" for key in [*header.shapes][:1])
        raise NetworkFileError(path, reason + _other_model(header.shapes, keys))
    tensors = read_tensors(path, [key for parts in found.values() for key in parts.values()])
    config = _adapter_config(header.metadata)

    layers: dict[str, tuple[Delta, ...]] = {}
    seen: dict[tuple[str, object], tuple[str, dict[str, Tensor]]] = {}
    for written, keys_of_parts in found.items():
        layer = keys[written]
        parts = {part: tensors[key] for part, key in keys_of_parts.items()}
        first, earlier = seen.setdefault((layer.name, layer.output_slice), (written, parts))
        if first != written:
            pairs = ((earlier[part], parts[part]) for part in parts)
            if earlier.keys() == parts.keys() and all(torch.equal(one, other) for one, other in pairs):
                continue
            reason = f"layer {layer.name} is there twice with different weights, as {shown(first, 120)} and "
            raise NetworkFileError(path, f"{reason}{shown(written, 120)}; it is unclear which one is meant")
        try:
            deltas = layer_deltas(parts, layer, partial(_scale, config, layer.name))
        except ValueError as error:
            reason = f"layer {shown(written, 120)}: {error}"
            raise NetworkFileError(path, reason + _other_model(header.shapes, keys)) from error
        layers[layer.name] = layers.get(layer.name, ()) + deltas
    return Network(path.stem, MappingProxyType(layers), header.metadata, unmatched)


def _other_model(shapes: Mapping[str, tuple[int, ...]], keys: KeyMap) -> str:
    """A sentence on what file and model look like, empty if neither tells or both look the same."""
    file, model = _made_for(shapes), None
    for key, layer in keys.items():
        if layer.shape is not None and len(layer.shape) == 2 and key.endswith(_CONTEXT_LAYERS):
            model = _by_width(layer.shape[1])
            break
    if file is None or file == model:
        return ""
    return f". The file looks made for {file}" + (f", the model is {model}" if model is not None else "")


def _by_width(width: int) -> str:
    said = f"cross-attention width {width}"
    return f"{_BY_WIDTH[width]} ({said})" if width in _BY_WIDTH else f"a model of {said}"


def _made_for(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """What a file with these keys and shapes looks made for; None if nothing tells."""
    for name, marks in _BY_NAME:
        if any(mark in key for key in shapes for mark in marks):
            return name
    for key, shape in shapes.items():
        if len(shape) >= 2 and key.endswith(_INPUT_PARTS) and any(mark in key for mark in _CONTEXT_LAYERS):
            return _by_width(shape[1])
    if any(key.startswith(("lora_te2_", "text_encoder_2.")) for key in shapes):
        return "SDXL"
    plain = all(split_key(key)[1] in ("", "weight", "bias") for key in shapes)
    if plain and any(key.startswith(_WHOLE_MODELS) for key in shapes):
        return "a whole model or a part of one, not a network"
    return None
