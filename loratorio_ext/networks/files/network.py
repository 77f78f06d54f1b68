"""A network as read from a file: its deltas by layer name."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

import torch
from torch import Tensor

from loratorio_ext.networks.files.architecture import made_for, model_is
from loratorio_ext.networks.files.computed import LayerPartsError
from loratorio_ext.networks.files.container import NetworkFileError, read_header, read_tensors
from loratorio_ext.networks.files.keys import KeyMap, TargetLayer, split_key
from loratorio_ext.networks.files.types import layer_deltas
from loratorio_ext.networks.prompt import shown
from loratorio_ext.networks.router import Delta

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
            raise ValueError(
                f"component is {component!r}; it must be 'unet', 'text_encoder' or 'text_encoder_2'"
            )
        prefixes = ("text_encoder.", "text_encoder_2.") if component == "text_encoder" else (f"{component}.",)
        return {name: deltas for name, deltas in self.layers.items() if name.startswith(prefixes)}


@dataclass(frozen=True)
class _AdapterConfig:
    """The alpha that PEFT and diffusers write into the metadata ("lora_adapter_metadata"), hostile."""

    values: Mapping[str, object]

    @staticmethod
    def of(metadata: Mapping[str, str]) -> _AdapterConfig:
        try:
            values = json.loads(metadata.get("lora_adapter_metadata", "{}"))
        except (ValueError, RecursionError):
            values = {}
        return _AdapterConfig(values if isinstance(values, dict) else {})

    def scale(self, layer: str, rank: int) -> float:
        """Scale alpha / rank (rsLoRA: alpha / √rank) of a layer, 1 where nothing usable is said."""
        component, _, path = layer.partition(".")
        prefix = f"{component}." if any(key.startswith(f"{component}.") for key in self.values) else ""
        alpha = self.values.get(f"{prefix}lora_alpha")
        patterns = self.values.get(f"{prefix}alpha_pattern")
        for pattern, own in patterns.items() if isinstance(patterns, dict) else ():
            if path == pattern or path.endswith(f".{pattern}"):
                alpha = own
        if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not abs(alpha) < 1e6:
            return 1.0
        rooted = self.values.get(f"{prefix}use_rslora") is True
        return float(alpha) / (math.sqrt(rank) if rooted else rank)


@dataclass(frozen=True)
class _Group:
    """What a file says of one layer under one name: our part names → the file's keys."""

    layer: TargetLayer
    written: str
    keys: Mapping[str, str]


def _group(
    path: Path, file_keys: Mapping[str, tuple[int, ...]], keys: KeyMap
) -> tuple[list[_Group], list[str]]:
    """Sorts a file's keys by layer; the second list holds those of no layer of this model."""
    found: dict[str, tuple[TargetLayer, dict[str, str]]] = {}
    unmatched: list[str] = []
    for key in file_keys:
        split = split_key(key)
        name = next((candidate for candidate in split.layers if candidate in keys), None)
        if name is None:
            unmatched.append(key)
            continue
        if not split.part:
            raise NetworkFileError(path, f"{shown(key, 120)} is a part of an unknown type of network")
        parts = found.setdefault(name, (keys[name], {}))[1]
        if split.part in parts:
            other = shown(parts[split.part], 120)
            raise NetworkFileError(path, f"{shown(key, 120)} and {other} mean the same weight")
        parts[split.part] = key
    return [_Group(layer, name, MappingProxyType(parts)) for name, (layer, parts) in found.items()], unmatched


def _same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        first[part].shape == second[part].shape and torch.equal(first[part], second[part]) for part in first
    )


def _other_model(shapes: Mapping[str, tuple[int, ...]], keys: KeyMap) -> str:
    """A sentence on what file and model look like, empty if neither tells or both look the same."""
    file, model = made_for(shapes), model_is(keys)
    if file is None or file == model:
        return ""
    return f". The file looks made for {file}" + (f", the model is {model}" if model is not None else "")


def load_network(path: str | Path, keys: KeyMap) -> Network:
    """Reads a network file for a model.

    path: a .safetensors file. keys: the model's layers (`key_map`, with a host's own additions). Tensors stay
    in the file's dtype, on the CPU; only those that belong to a layer are read. alpha: of the layer, else of
    PEFT's metadata, else the rank.

    Keys that no layer has are listed in `unmatched`. A layer that is written twice, in two styles, counts
    once if both say the same.

    Raises NetworkFileError, which names the file, the reason and what to do: unreadable, pickle, truncated,
    not safetensors, not finite, no matching key, made for another model, incomplete or unknown types.
    """
    path = Path(path)
    header = read_header(path)
    groups, unmatched = _group(path, header.shapes, keys)
    if not groups:
        reason = f"none of its {len(header.shapes)} keys belongs to a layer of this model"
        example = next(iter(header.shapes), None)
        reason += "" if example is None else f" (the first is {shown(example, 120)})"
        raise NetworkFileError(path, reason + _other_model(header.shapes, keys))
    tensors = read_tensors(path, [key for group in groups for key in group.keys.values()])
    config = _AdapterConfig.of(header.metadata)

    layers: dict[str, tuple[Delta, ...]] = {}
    seen: dict[tuple[str, object], tuple[str, dict[str, Tensor]]] = {}
    for group in groups:
        layer = group.layer
        parts = {part: tensors[key] for part, key in group.keys.items()}
        earlier = seen.setdefault((layer.name, layer.output_slice), (group.written, parts))
        if earlier[1] is not parts:
            if _same(earlier[1], parts):
                continue
            raise NetworkFileError(
                path,
                f"layer {layer.name} is there twice with different weights, as {shown(earlier[0], 120)} and "
                f"{shown(group.written, 120)}; it is unclear which one is meant",
            )
        try:
            deltas = layer_deltas(parts, layer, partial(config.scale, layer.name))
        except LayerPartsError as error:
            reason = f"layer {shown(group.written, 120)}: {error}"
            raise NetworkFileError(path, reason + _other_model(header.shapes, keys)) from error
        layers[layer.name] = layers.get(layer.name, ()) + deltas
    return Network(path.stem, MappingProxyType(layers), header.metadata, tuple(unmatched))
