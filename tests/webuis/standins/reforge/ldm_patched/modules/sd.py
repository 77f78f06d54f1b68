"""A clone of both patchers for each network."""

from __future__ import annotations

from backend.patcher.lora import weight_adapter
from lora_patches import patches_in


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
