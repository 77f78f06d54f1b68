"""Everything that is asked of Forge and its relatives under the same names.

What they have in modules of their own is asked through ``backend.Backend``; what all WebUIs offer under the
same names is in ``hosts/webuis/webui.py``.

File references are to lllyasviel/stable-diffusion-webui-forge, commit dfdcbab6. ``networks`` is the module of
its built-in sd_forge_lora extension.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import networks as lora_networks
from modules import prompt_parser, sd_models, shared
from torch import Tensor

from loratorio_ext.hosts.forge.backend import Backend
from loratorio_ext.hosts.webuis.webui import WebuiServices, keeps_conds as keeps_conds
from loratorio_ext.networks.router import TokenLayout

WRAPPER = "model_function_wrapper"
"""The model option with the one function that wraps model calls."""

Wrapper = Callable[[Callable[..., Tensor], Mapping[str, Any]], Tensor]
"""(apply_model, call with input, timestep, c and cond_or_uncond) → denoised rows."""


class ForgeServices(WebuiServices):
    """See `WebuiServices`."""

    def __init__(self, name: str, backend: Backend) -> None:
        """``name``: of this Forge; ``backend``: its own."""
        self.name = name
        self._backend = backend

    def obstacle(self) -> str | None:
        """Which networks fit is known only when they are bound."""
        return self._backend.obstacle()

    def remark(self) -> str | None:
        """What the backend says of the model that is loaded."""
        return self._backend.remark()

    def model_name(self) -> str | None:
        """None also while another one is chosen, which Forge and Forge Neo load with the next picture."""
        data = sd_models.model_data
        chosen = getattr(data, "forge_loading_parameters", None)
        waits = chosen is not None and str(chosen) != data.forge_hash
        return None if waits else super().model_name()

    def model_identity(self) -> tuple[int, str]:
        """Changes when another model or text encoder is loaded."""
        return model_identity()

    def collect_memory(self) -> None:
        """Give memory that nothing uses back to the device."""
        self._backend.collect_memory()


# ------------------------------------------------ networks (extensions-builtin/sd_forge_lora/networks.py)


def loaded_networks() -> Sequence[Any]:
    """The networks of the last activation; empty where a tag of the prompt names an unknown one."""
    loaded: Sequence[Any] = lora_networks.loaded_networks
    return loaded


def current_networks() -> str:
    """A list of [file, strength, strength of the text encoder part, …], as text."""
    return str(shared.sd_model.current_lora_hash)


# ------------------------------------------------ the model


def model_identity() -> tuple[int, str]:
    """Changes when another model or text encoder is loaded (modules/sd_models.py).

    Only Forge and Forge Neo have a hash of what is loaded; reForge puts another text encoder into the model.
    """
    model, loaded = shared.sd_model, getattr(sd_models.model_data, "forge_hash", "")
    encoder = id(model.forge_objects_original.clip.cond_stage_model)
    return id(model), f"{model.sd_checkpoint_info.filename} {loaded} {encoder}"


def objects() -> Any:
    """The patchers of the current batch: ``unet``, ``clip``, ``vae`` (backend/diffusion_engine/base.py)."""
    return shared.sd_model.forge_objects


def original_objects() -> Any:
    """The patchers without any network."""
    return shared.sd_model.forge_objects_original


def objects_with_networks() -> Any:
    """The patchers with all networks of the last activation."""
    return shared.sd_model.forge_objects_after_applying_lora


# ------------------------------------------------ conditions


def token_layout() -> TokenLayout:
    """Of the transformer that is loaded, as its class keeps it; Wan's patches are of (T, H, W)."""
    model, usual = objects().unet.model.diffusion_model, TokenLayout()
    patch = getattr(model, "patch_size", usual.patch)
    multiple = getattr(model, "pad_tokens_multiple", None) or usual.multiple
    return TokenLayout(patch[-1] if isinstance(patch, Sequence) else patch, multiple)


def texts_at(conditions: tuple[Any, Any], step: int) -> tuple[Any, Any, Any]:
    """(row and weight of each image's AND sub-prompts, what ``CFGDenoiserParams`` holds as texts)."""
    c, uc = conditions
    composition, text = prompt_parser.reconstruct_multicond_batch(c, step)
    return composition, text, None if uc is None else prompt_parser.reconstruct_cond_batch(uc, step)


def estimate_of_memory(unet: Any) -> Callable[[Sequence[int]], float]:
    """Shape of a call's input → bytes that the call takes (backend/sampling/sampling_function.py)."""
    estimate: Callable[[Sequence[int]], float] = unet.model_options.get(
        "memory_peak_estimation_modifier", unet.memory_required
    )
    return estimate


def text_options() -> tuple[object, ...]:
    """What the text encoders' output depends on besides what Forge's own caches are keyed by."""
    return (model_identity(), getattr(shared.opts, "comma_padding_backtrack", None))


# ------------------------------------------------ evaluations (backend/sampling/sampling_function.py)


def looks_across_rows(model_options: Mapping[str, Any]) -> bool:
    """Whether other extensions' functions may mix the rows of a call, or remember rows.

    Those that replace self-attention do (StyleAlign, SAG, ControlNet's reference), and those around blocks
    and norms may (backend/patcher/unet.py).
    """
    options = model_options.get("transformer_options", {})
    around = ("block_modifiers", "block_inner_modifiers", "group_norm_wrapper")
    return bool(options.get("patches_replace", {}).get("attn1")) or any(options.get(name) for name in around)


def looks_at_images(model_options: Mapping[str, Any]) -> bool:
    """Whether other extensions' functions may bring something for each image, repeated over a chunk."""
    options = model_options.get("transformer_options", {})
    return bool(options.get("patches") or options.get("patches_replace"))


def weighs_images(control: Any) -> bool:
    """Whether a ControlNet, or one before it, has weights for each image of a batch, and for no more rows."""
    while control is not None:
        if getattr(control, "advanced_frame_weighting", None) is not None:
            return True
        control = getattr(control, "previous_controlnet", None)
    return False


def forget_features(control: Any) -> None:
    """Let T2I adapters in a chain process their hints again.

    They keep the features of their first call, for as many rows as that had
    (backend/patcher/controlnet.py, T2IAdapter).
    """
    while control is not None:
        if hasattr(control, "control_input"):
            control.control_input = None
        control = getattr(control, "previous_controlnet", None)
