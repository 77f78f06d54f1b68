"""A network as read from a file: its deltas by layer name, or why the file cannot be used with the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal, get_args

import torch
from torch import Tensor

from loratorio_ext.networks.files.architectures import (
    BY_WIDTH,
    named_by_width,
    other_architecture,
    said_diffusion,
    stable_diffusion,
)
from loratorio_ext.networks.files.container import Header, NetworkFileError, read_header, read_tensors
from loratorio_ext.networks.files.keys import KeyMap, owners, split_key
from loratorio_ext.networks.files.scale import adapter_config
from loratorio_ext.networks.files.types import layer_deltas, needs_alpha
from loratorio_ext.networks.problems import shown
from loratorio_ext.networks.router import Delta

Component = Literal["unet", "text_encoder", "text_encoder_2"]


@dataclass(frozen=True, eq=False)
class Network:
    """One network as read from a file.

    name: the file's stem, or the name that a tag uses. layers: layer name ("unet.down_blocks.0...to_q") → its
    deltas, which add up. metadata: the file's header, hostile text. unmatched: keys of the file that no layer
    of this model has. notes: what of the file does not act as it should, each fit to follow "network x: ".
    """

    name: str
    layers: Mapping[str, tuple[Delta, ...]]
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    unmatched: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def part(self, component: Component) -> dict[str, tuple[Delta, ...]]:
        """The layers of one component, names kept; "text_encoder" also gives those of "text_encoder_2".

        Raises ValueError for an unknown component.
        """
        if component not in get_args(Component):
            known = ", ".join(map(repr, get_args(Component)))
            raise ValueError(f"component is {component!r}; it must be one of {known}")
        prefixes = ("text_encoder.", "text_encoder_2.") if component == "text_encoder" else (f"{component}.",)
        return {name: deltas for name, deltas in self.layers.items() if name.startswith(prefixes)}


def _is_whole(key: str) -> bool:
    """Whether a key is of peft's copy of one of the model's own weights."""
    if ".modules_to_save." in key or ".base_layer." in key:
        return True
    return key.endswith(".bias") and "base_model.model." in key and ".lora_B." not in key


def _by_layer(
    path: Path, file_keys: Iterable[str], keys: KeyMap
) -> tuple[dict[str, dict[str, str]], tuple[str, ...]]:
    """(key of the model's layer → our part names → the file's keys, keys of no layer of this model)."""
    found: dict[str, dict[str, str]] = {}
    unmatched: list[str] = []
    for key in file_keys:
        if _is_whole(key):
            reason = f"{shown(key, 120)} is a weight of the model itself and no change of it (peft's bias or"
            reason += " modules_to_save); save the network with bias='none' and without modules_to_save"
            raise NetworkFileError(path, reason)
        layers, part = split_key(key)
        name = next((candidate for candidate in layers if candidate in keys), None)
        if not part or name is None:
            if any(owner in keys for owner in (*layers, *owners(key))):
                raise NetworkFileError(path, f"{shown(key, 120)} is a part of an unknown type of network")
            unmatched.append(key)
            continue
        first = found.setdefault(name, {}).setdefault(part, key)
        if first != key:
            raise NetworkFileError(path, f"{shown(key, 120)} and {shown(first, 120)} mean the same weight")
    return found, tuple(unmatched)


def load_network(path: str | Path, keys: KeyMap) -> Network:
    """Reads a network file for a model.

    keys: the model's layers (`key_map`, with a host's own additions). Tensors stay in the file's dtype, on
    the CPU; only those that belong to a layer are read. alpha: of the layer, else of PEFT's configuration,
    else the rank. A layer that is written twice, in two styles, counts once if both say the same.

    Raises NetworkFileError, which names the file, the reason and what to do: unreadable, pickle, truncated,
    not safetensors, not finite, no matching key, made for another model, incomplete or unknown types.
    """
    path = Path(path)
    header = read_header(path)
    _check_architecture(path, header, keys)
    embeddings = {key: name for key in header.shapes if (name := _embedding(key)) is not None}
    found, unmatched = _by_layer(path, (key for key in header.shapes if key not in embeddings), keys)
    if not found:
        reason = f"none of its {len(header.shapes)} keys belongs to a layer of this model"
        reason += "".join(f" (the first is {shown(key, 120)})" for key in [*header.shapes][:1])
        raise NetworkFileError(path, reason + _other_model(header, keys))
    different = _other_model(header, keys)
    if unmatched and different and _model_in_words(keys):
        reason = (
            f"{len(unmatched)} of its keys fit no layer of this model, such as {shown(unmatched[0], 120)}"
        )
        raise NetworkFileError(path, reason + different)
    unneeded = {parts["alpha"] for parts in found.values() if "alpha" in parts and not needs_alpha(parts)}
    tensors = read_tensors(path, [key for parts in found.values() for key in parts.values()], unneeded)
    config = adapter_config(path, header)

    layers: dict[str, tuple[Delta, ...]] = {}
    seen: dict[tuple[str, object], tuple[str, dict[str, Tensor]]] = {}
    factors = 0
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
        component, _, module = layer.name.partition(".")
        # As the file spells it too: files keep "text_model.", which the model may lack.
        names = (written.removeprefix(f"{component}."), module) if "." in written else (module,)
        try:
            deltas = layer_deltas(parts, layer, partial(config.scale, component, names))
        except NetworkFileError:
            raise
        except ValueError as error:
            reason = f"layer {shown(written, 120)}: {error}"
            raise NetworkFileError(path, reason + _other_model(header, keys)) from error
        factors += "scalar" in parts and bool((parts["scalar"] != 1).any())
        layers[layer.name] = layers.get(layer.name, ()) + deltas
    notes = []
    if different and _model_in_words(keys):
        notes.append(f"its weights fit, and yet it may be for another model{different}")
    if config.problem:
        notes.append(f"its scale is unknown and taken as 1, since {config.problem}")
    if factors:
        notes.append(
            f"{factors} of its layers have a factor (scalar) beside their weights, which no tool reads"
        )
    if embeddings:
        bundled = [shown(name, 40) for name in dict.fromkeys(embeddings.values())]
        listed = ", ".join(bundled[:5]) + (", ..." if len(bundled) > 5 else "")
        notes.append(f"it bundles embeddings ({listed}), which do not act here; use them in a WebUI")
    return Network(path.stem, MappingProxyType(layers), header.metadata, unmatched, tuple(notes))


def _embedding(key: str) -> str | None:
    """The name of the bundled embedding that a key is of (LyCORIS tools/pack_bundle.py); None if of none."""
    before, _, name = key.rpartition("bundle_emb.")
    return name.split(".")[0] if name != key and before in ("", "base_model.model.") else None


def _check_architecture(path: Path, header: Header, keys: KeyMap) -> None:
    """NetworkFileError for a file that is for another model than this one, whatever of it would fit."""
    other = other_architecture(header.shapes, header.metadata)
    if (
        other is None
        and stable_diffusion(header.shapes) == "SDXL"
        and any(k.startswith("text_encoder.") for k in keys)
    ):
        other = None if any(key.startswith("text_encoder_2.") for key in keys) else "SDXL"
    if other is not None:
        model = _model_in_words(keys)
        reason = f"it was made for {other}; take a network that was made for the model in use"
        raise NetworkFileError(path, reason + (f", {model}" if model else ""))


def _model_in_words(keys: KeyMap) -> str:
    """The model by its cross-attention; empty where it has none."""
    for key, layer in keys.items():
        if layer.shape is not None and len(layer.shape) == 2 and key.endswith(("attn2.to_k", "attn2_to_k")):
            return named_by_width(layer.shape[1])
    return ""


def _other_model(header: Header, keys: KeyMap) -> str:
    """A sentence on what file and model look like, empty if neither tells or both look the same."""
    file, model = stable_diffusion(header.shapes), _model_in_words(keys)
    by_metadata = "" if file else said_diffusion(header.metadata) or ""
    if by_metadata and model.startswith((*BY_WIDTH.values(),)) and not model.startswith(by_metadata):
        file = f"{by_metadata} (so its metadata say)"
    if file is None or model.startswith(file):
        return ""
    return f". The file looks made for {file}" + (f", the model is {model}" if model else "")
