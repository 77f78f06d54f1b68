"""A clone of a patcher for each network that has a part for it; more than 12 unknown keys are too many."""

from __future__ import annotations

from lora_patches import patches_in


def _of(lora, module, prefix):
    """Low rank without DoRA, and whole parameters alone."""
    known = patches_in(lora, module, prefix)
    found = {}
    for key, value in known.items():
        if value[0] == "lora":
            found[key] = ("lora", value[1][:4])
        elif value[0] in ("loha", "diff"):
            found[key] = value[1] if value[0] == "diff" else value
    return found


def load_lora_for_models(model, clip, lora, strength_model, strength_clip, filename="default"):
    of_unet, of_clip = _of(lora, model.model, "lora"), _of(lora, clip.cond_stage_model, "te")
    if of_unet:
        model = model.clone()
        model.add_patches(of_unet, strength_model)
    if of_clip:
        clip = clip.clone()
        clip.patcher.add_patches(of_clip, strength_clip)
    return model, clip
