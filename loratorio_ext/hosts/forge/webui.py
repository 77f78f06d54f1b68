"""Everything that is asked of Forge; the only file here that names its modules.

What all WebUIs offer under the same names is in ``hosts/webuis/webui.py``.

File references are to lllyasviel/stable-diffusion-webui-forge, commit dfdcbab6. ``networks`` is the module of
its built-in sd_forge_lora extension.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import networks as lora_networks
from backend import memory_management, utils
from backend.patcher.base import ModelPatcher
from backend.patcher.lora import merge_lora_to_weight
from backend.sampling import condition, sampling_function
from modules import prompt_parser, sd_models, shared
from torch import Tensor, nn

from loratorio_ext.hosts.forge.backend import Backend, Patches, PatchKey
from loratorio_ext.hosts.webuis.webui import WebuiServices, keeps_conds as keeps_conds
from loratorio_ext.networks.router import TokenLayout

PRE_CFG = "sampler_pre_cfg_function"
"""The model option with the list of functions that are called before an evaluation."""

WRAPPER = "model_function_wrapper"
"""The model option with the one function that wraps model calls."""

MODIFIERS = "conditioning_modifiers"
"""The model option with the list of functions that are called first in the denoiser's own evaluation."""

Area = tuple[int, int, int, int]
"""(height, width, y, x) in latent pixels."""

Wrapper = Callable[[Callable[..., Tensor], Mapping[str, Any]], Tensor]
"""(apply_model, call with input, timestep, c and cond_or_uncond) → denoised rows."""


def missing_parts() -> list[str]:
    """What composing needs and this backend lacks: Forge Neo keeps networks in another form."""
    needed = (
        (ModelPatcher, "refresh_loras"),
        (sampling_function, "get_area_and_mult"),
        (sampling_function, "calc_cond_uncond_batch"),
        (sampling_function, "sampling_prepare"),
        (condition, "compile_weighted_conditions"),
        (lora_networks, "load_lora_for_models"),
        (lora_networks, "loaded_networks"),
    )
    return [f"{owner.__name__}.{name}" for owner, name in needed if not hasattr(owner, name)]


class ForgeServices(WebuiServices):
    """See `WebuiServices`."""

    def __init__(self, name: str, backend: Backend) -> None:
        """``name``: of this Forge; ``backend``: its own."""
        self.name = name
        self._backend = backend

    def obstacle(self) -> str | None:
        """Which networks fit is known only when they are bound."""
        return self._backend.obstacle()

    def model_identity(self) -> tuple[int, str]:
        """Changes when another model or text encoder is loaded."""
        return model_identity()

    def collect_memory(self) -> None:
        """Give memory that nothing uses back to the device."""
        memory_management.soft_empty_cache()


class ForgeBackend:
    """See `Backend`: Forge keeps a table of patches for each network, with its file."""

    def obstacle(self) -> None:
        """Every model's layers can be reached."""

    def check_latents(self, x: Tensor) -> None:
        """All latents are pictures."""

    def calls_rows_alone(self) -> bool:
        """No model looks at the number of rows."""
        return False

    def patches_in(self, patcher: Any) -> Mapping[PatchKey, Patches]:
        patches: Mapping[PatchKey, Patches] = patcher.lora_patches
        return patches

    def put_patches(self, patcher: Any, patches: Mapping[PatchKey, Patches]) -> Any:
        patcher.lora_patches = patches
        return patcher

    def load_again(self, patcher: Any) -> None:
        patcher.refresh_loras()

    def patches_of_file(self, file: str) -> tuple[Patches, Patches]:
        original = shared.sd_model.forge_objects_original
        tensors = utils.load_torch_file(file, safe_load=True)
        unet, clip = lora_networks.load_lora_for_models(
            original.unet, original.clip, tensors, 1.0, 1.0, filename=file, online_mode=False
        )
        key: PatchKey = (file, 1.0, 1.0, False)
        return unet.lora_patches.get(key, {}), clip.patcher.lora_patches.get(key, {})

    def difference(self, layer: nn.Module, patch: Sequence[Any]) -> Tensor:
        """ValueError for a patch that makes a weight of another shape."""
        weight = plain_weight(layer)
        _, value, strength_of_model, offset, function = patch
        merged: Tensor = merge_lora_to_weight([[1.0, value, strength_of_model, offset, function]], weight)
        if merged.shape != weight.shape:
            raise ValueError(f"it turns a weight of {tuple(weight.shape)} into one of {tuple(merged.shape)}")
        return merged - weight


# ------------------------------------------------ networks (extensions-builtin/sd_forge_lora/networks.py)


def loaded_networks() -> Sequence[Any]:
    """The networks of the last activation; empty where a tag of the prompt names an unknown one."""
    loaded: Sequence[Any] = lora_networks.loaded_networks
    return loaded


# ------------------------------------------------ the model


def model_identity() -> tuple[int, str]:
    """Changes when another model or text encoder is loaded (modules/sd_models.py)."""
    model, loaded = shared.sd_model, sd_models.model_data.forge_hash
    return id(model), f"{model.sd_checkpoint_info.filename} {loaded}"


def objects() -> Any:
    """The patchers of the current batch: ``unet``, ``clip``, ``vae`` (backend/diffusion_engine/base.py)."""
    return shared.sd_model.forge_objects


def objects_with_networks() -> Any:
    """The patchers with all networks of the last activation."""
    return shared.sd_model.forge_objects_after_applying_lora


def load_for_sampling(unet: Any, x: Tensor) -> None:
    """Load a UNet that comes in while a sampler is running, as the sampler itself does it."""
    sampling_function.sampling_prepare(unet, x)


def load_in_place_of_clones(patcher: Any) -> None:
    """Let ``patcher``, which Forge refers to, count as loaded where a clone of it does.

    Memory management forgets a loaded patcher that nothing refers to, and leaves its weights where they are
    (backend/memory_management.py, free_memory).
    """
    if loaded_clone(patcher) is not None:
        memory_management.load_model_gpu(patcher)


def loaded_clone(patcher: Any) -> Any | None:
    """A clone of ``patcher`` that counts as loaded in its place, so that weights have the clone's patches."""
    loaded = [one.model for one in memory_management.current_loaded_models]
    return next((one for one in loaded if one is not patcher and patcher.is_clone(one)), None)


def plain_weight(layer: nn.Module) -> Tensor:
    """The weight in float32, dequantised where it is not stored as numbers (patcher/lora.py, LoraLoader)."""
    stored: Any = layer.weight
    if getattr(stored, "gguf_cls", None) is not None:
        from backend.operations_gguf import dequantize_tensor

        stored = dequantize_tensor(stored)
    elif hasattr(stored, "bnb_quantized"):
        from backend.operations_bnb import functional_dequantize_4bit

        stored = functional_dequantize_4bit(stored)
    weight: Tensor = stored.detach().float()
    scale = getattr(layer, "scale_weight", None)
    return weight if scale is None else weight * scale.detach().to(weight)


# ------------------------------------------------ conditions


def token_layout() -> TokenLayout:
    """Of the transformer that is loaded, as its class keeps it; Wan's patches are of (T, H, W)."""
    model, usual = objects().unet.model.diffusion_model, TokenLayout()
    patch = getattr(model, "patch_size", usual.patch)
    multiple = getattr(model, "pad_tokens_multiple", None) or usual.multiple
    return TokenLayout(patch[-1] if isinstance(patch, Sequence) else patch, multiple)


def conditions_at(c: Any, step: int) -> list[dict[str, Any]]:
    """The dicts of ``c`` (multi-condition) that an evaluation is made of: one for each AND sub-prompt."""
    composition, text = prompt_parser.reconstruct_multicond_batch(c, step)
    return condition.compile_weighted_conditions(text, composition)  # type: ignore[no-any-return]


def unconditions_at(uc: Any, step: int) -> list[dict[str, Any]] | None:
    """The same of ``uc``."""
    return condition.compile_conditions(  # type: ignore[no-any-return]
        None if uc is None else prompt_parser.reconstruct_cond_batch(uc, step)
    )


def texts_at(conditions: tuple[Any, Any], step: int) -> tuple[Any, Any]:
    """What ``CFGDenoiserParams`` holds as text_cond and text_uncond."""
    c, uc = conditions
    text = prompt_parser.reconstruct_multicond_batch(c, step)[1]
    return text, None if uc is None else prompt_parser.reconstruct_cond_batch(uc, step)


def text_options() -> tuple[object, ...]:
    """What the text encoders' output depends on besides what Forge's own caches are keyed by."""
    return (model_identity(), getattr(shared.opts, "comma_padding_backtrack", None))


# ------------------------------------------------ evaluations (backend/sampling/sampling_function.py)


def evaluate(
    model: Any,
    cond: list[dict[str, Any]],
    uncond: list[dict[str, Any]] | None,
    x: Tensor,
    sigma: Tensor,
    model_options: Mapping[str, Any],
) -> tuple[Tensor, Tensor]:
    """Denoised predictions of cond and uncond, [rows, C, H, W] each; zeros where one has no dicts."""
    return sampling_function.calc_cond_uncond_batch(  # type: ignore[no-any-return]
        model, cond, uncond, x, sigma, model_options
    )


def place_of(one: Mapping[str, Any], x: Tensor, sigma: Tensor) -> tuple[Area, Tensor] | None:
    """Where a dict of conditions acts and its weight [B, C, height, width]; None: not at this sigma."""
    found = sampling_function.get_area_and_mult(one, x, sigma)
    return None if found is None else (found.area, found.mult)


def area_of(one: Mapping[str, Any], x: Tensor, sigma: Tensor) -> Area | None:
    """Where a dict of conditions acts; None: not at this sigma."""
    found = place_of(one, x, sigma)
    return None if found is None else found[0]


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


def free_memory(x: Tensor) -> float:
    """Bytes that are free where ``x`` is."""
    return float(memory_management.get_free_memory(x.device))


def estimate_of_memory(unet: Any) -> Callable[[Sequence[int]], float]:
    """Shape of a call's input → bytes that the call takes (backend/sampling/sampling_function.py)."""
    estimate: Callable[[Sequence[int]], float] = unet.model_options.get(
        "memory_peak_estimation_modifier", unet.memory_required
    )
    return estimate


def total_memory(unet: Any) -> float:
    """Total bytes of the device that a UNet runs on."""
    return float(memory_management.get_total_memory(unet.load_device))
