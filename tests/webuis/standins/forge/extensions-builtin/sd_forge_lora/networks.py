"""Files of networks, and patchers with the ones that the prompt names."""

from __future__ import annotations

import functools

from backend.utils import load_torch_file
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


def _patches(tensors, names):
    """Patches of the parameters whose layer's name is known."""
    layers = {}
    for key, tensor in tensors.items():
        layer, _, part = key.partition(".")
        layers.setdefault(layer, {})[part] = tensor
    found = {}
    for layer, parts in layers.items():
        if layer not in names:
            continue
        key, alpha = names[layer], parts.get("alpha")
        alpha = None if alpha is None else alpha.item()
        if "lora_up.weight" in parts:
            tensors = [parts.get(f"lora_{one}.weight") for one in ("up", "down", "mid")]
            value = (tensors[0], tensors[1], alpha, tensors[2], parts.get("dora_scale"))
            found[key if "slice" not in parts else (key, tuple(parts["slice"].tolist()))] = ("lora", value)
        elif "hada_w1_a" in parts:
            a1, b1, a2, b2 = (parts[f"hada_w{i}_{side}"] for i in (1, 2) for side in "ab")
            found[key] = ("loha", (a1, b1, alpha, a2, b2, None, None, None))
        elif "diff" in parts:
            found[key] = ("diff", (parts["diff"],))
        elif "set_weight" in parts:
            found[key] = ("set", (parts["set_weight"],))
        if "diff_b" in parts:
            found[f"{key.removesuffix('.weight')}.bias"] = ("diff", (parts["diff_b"],))
    return found


def load_lora_for_models(
    model, clip, lora, strength_model, strength_clip, filename="default", online_mode=False
):
    def names(module, prefix):
        return {
            f"{prefix}_{name.removesuffix('.weight').replace('.', '_')}": name
            for name, _ in module.named_parameters()
            if name.endswith(".weight")
        }

    unet_patches = _patches(lora, names(model.model, "lora"))
    clip_patches = _patches(lora, names(clip.cond_stage_model, "te"))
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
        network = Network(name, one)
        network.mentioned_name = name
        loaded_networks.append(network)
    targets = [
        [one.filename, unet, te, False]
        for one, unet, te in zip(on_disk, unet_multipliers, te_multipliers, strict=True)
    ]
    if current.current_lora_hash == str(targets):
        return
    current.current_lora_hash = str(targets)
    objects = current.forge_objects
    objects.unet = current.forge_objects_original.unet
    objects.clip = current.forge_objects_original.clip
    for filename, unet, te, online in targets:
        tensors = load_lora_state_dict(filename)
        objects.unet, objects.clip = load_lora_for_models(
            objects.unet, objects.clip, tensors, unet, te, filename=filename, online_mode=online
        )
    current.forge_objects_after_applying_lora = objects.shallow_copy()
