"""Files of networks, and a clone of both patchers for each one that the prompt names."""

from __future__ import annotations

import functools

from backend.utils import load_torch_file
from ldm_patched.modules.sd import load_lora_for_models
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
