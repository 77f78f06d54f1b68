"""Files of networks, and a clone of both patchers for each one that the prompt names."""

from __future__ import annotations

import functools

from backend.patcher.lora import weight_adapter
from backend.utils import load_torch_file
from lora_patches import patches_in
from modules import shared
from modules.networks_common import (  # noqa: F401
    available_network_aliases,
    available_networks,
    forbidden_network_aliases,
    list_available_networks,
    loaded_networks,
)
from network import Network

shared.opts.add_option("sd_lora", shared.OptionInfo("None"))


@functools.lru_cache(maxsize=5)
def load_lora_state_dict(filename):
    return load_torch_file(filename, safe_load=True)


def _with_adapters(patches):
    """Objects for what is made of factors."""
    found = {}
    for key, value in patches.items():
        is_plain = len(value) == 1 or value[0] in ("diff", "set")
        weights = () if is_plain else (*value[1], None) if value[0] == "lora" else value[1]
        found[key] = value if is_plain else weight_adapter.WeightAdapterBase(value[0], weights)
    return found


def load_lora_for_models(model, clip, lora, strength_model, strength_clip, filename="default"):
    parts = ((model.model, "lora", strength_model), (clip.cond_stage_model, "te", strength_clip))
    known = [_with_adapters(patches_in(lora, *part[:2])) for part in parts if part[2] != 0]
    if not known:
        return model, clip
    model, clip = model.clone(), clip.clone()
    for patches in known:
        model.add_patches(patches, strength_model)
        clip.patcher.add_patches(patches, strength_clip)
    return model, clip


def load_networks(names, te_multipliers=None, unet_multipliers=None, dyn_dims=None):
    current = shared.sd_model
    loaded_networks.clear()
    on_disk = [
        (available_networks if name.lower() in forbidden_network_aliases else available_network_aliases).get(
            name
        )
        for name in names
    ]
    for name, one in zip(names, on_disk, strict=True):
        network = Network(name, one)
        network.mentioned_name = name
        loaded_networks.append(network)
    targets = [
        [one.filename, unet, te]
        for one, unet, te in zip(on_disk, unet_multipliers, te_multipliers, strict=True)
    ]
    if current.current_lora_hash == str(targets):
        return
    current.current_lora_hash = str(targets)
    objects = current.forge_objects
    objects.unet = current.forge_objects_original.unet
    objects.clip = current.forge_objects_original.clip
    for filename, unet, te in targets:
        tensors = load_lora_state_dict(filename)
        objects.unet, objects.clip = load_lora_for_models(
            objects.unet, objects.clip, tensors, unet, te, filename=filename
        )
    current.forge_objects_after_applying_lora = objects.shallow_copy()
