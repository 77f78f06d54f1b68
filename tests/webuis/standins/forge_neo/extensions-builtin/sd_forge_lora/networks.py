"""Files of networks, and a clone of the patchers for each one that the prompt names."""

from __future__ import annotations

import functools

from backend.args import dynamic_args
from backend.patcher.lora import weight_adapter
from backend.state_dict import state_dict_prefix_replace
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


load_lora_state_dict = functools.partial(load_torch_file, safe_load=True)


def _with_adapters(patches):
    """As values of Neo: objects for what is made of factors."""
    found = {}
    for key, value in patches.items():
        is_plain = len(value) == 1 or value[0] in ("diff", "set")
        weights = () if is_plain else (*value[1], None) if value[0] == "lora" else value[1]
        found[key] = value if is_plain else weight_adapter.WeightAdapterBase(value[0], weights)
    return found


def load_lora_for_models(
    model, clip, lora, strength_model, strength_clip, filename="default", online_mode=False
):
    of_unet = state_dict_prefix_replace(lora, {"lora_unet_": "lora_diffusion_model_"})
    unet_patches = _with_adapters(patches_in(of_unet, model.model, "lora"))
    clip_patches = _with_adapters(patches_in(lora, clip.cond_stage_model, "te"))
    if unet_patches:
        model = model.clone()
        model.add_patches(
            filename=filename, patches=unet_patches, strength_patch=strength_model, online_mode=online_mode
        )
    if clip_patches:
        clip = clip.clone()
        clip.patcher.add_patches(
            filename=filename, patches=clip_patches, strength_patch=strength_clip, online_mode=online_mode
        )
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
        if one is not None:  # an unknown one does not keep others away
            network = Network(name, one)
            network.mentioned_name = name
            loaded_networks.append(network)
    online = dynamic_args.online_lora or False
    targets = [
        [one.filename, unet, te, online]
        for one, unet, te in zip(on_disk, unet_multipliers, te_multipliers, strict=True)
        if one is not None
    ]
    if current.current_lora_hash == str(targets):
        return
    current.current_lora_hash = str(targets)
    objects = current.forge_objects
    objects.unet = current.forge_objects_original.unet
    objects.clip = current.forge_objects_original.clip
    for filename, unet, te, online in targets:
        tensors = load_lora_state_dict(filename)
        if any(key.startswith("lora_unet__") for key in tensors):
            tensors = state_dict_prefix_replace(tensors, {"lora_unet__": "lora_unet_"})
        objects.unet, objects.clip = load_lora_for_models(
            objects.unet, objects.clip, tensors, unet, te, filename=filename, online_mode=online
        )
    current.forge_objects_after_applying_lora = objects.shallow_copy()
