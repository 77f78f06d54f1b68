"""Everything that is asked of Forge's own backend, for Forge alone and for Forge Neo too.

File references are to lllyasviel/stable-diffusion-webui-forge, commit dfdcbab6. ``networks`` is the module of
its built-in sd_forge_lora extension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import networks as lora_networks
from backend import memory_management, utils
from backend.patcher.base import ModelPatcher
from backend.patcher.lora import merge_lora_to_weight
from backend.sampling import condition, sampling_function
from torch import Tensor, nn

from loratorio_ext.hosts.forge.backend import Area, Dicts, Patches, PatchKey
from loratorio_ext.hosts.forge.option_functions import BeforeGuidance, OptionFunctions
from loratorio_ext.hosts.forge.webui import original_objects


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


class OwnBackend:
    """See `Backend`: what Forge and Forge Neo have under the same names."""

    def collect_memory(self) -> None:
        memory_management.soft_empty_cache()

    def free_memory(self, x: Tensor) -> float:
        return float(memory_management.get_free_memory(x.device))

    def total_memory(self, unet: Any) -> float:
        return float(memory_management.get_total_memory(unet.load_device))

    def width(self, unet: Any) -> int:
        return int(unet.model.computation_dtype.itemsize)

    def load(self, patcher: Any) -> None:
        memory_management.load_model_gpu(patcher)

    def load_for_sampling(self, unet: Any, x: Tensor) -> None:
        sampling_function.sampling_prepare(unet, x)

    def loaded(self) -> Sequence[Any]:
        return [one.model for one in memory_management.current_loaded_models]

    def dicts_of(self, text: Any, composition: Any) -> Dicts:
        return condition.compile_weighted_conditions(text, composition)  # type: ignore[no-any-return]

    def unweighted(self, text: Any) -> Dicts | None:
        return condition.compile_conditions(text)  # type: ignore[no-any-return]

    def evaluate(
        self,
        model: Any,
        cond: Dicts,
        uncond: Dicts | None,
        x: Tensor,
        sigma: Tensor,
        model_options: Mapping[str, Any],
    ) -> tuple[Tensor, Tensor]:
        return sampling_function.calc_cond_uncond_batch(  # type: ignore[no-any-return]
            model, cond, uncond, x, sigma, model_options
        )

    def place_of(self, one: Mapping[str, Any], x: Tensor, sigma: Tensor) -> tuple[Area, Tensor] | None:
        found = sampling_function.get_area_and_mult(one, x, sigma)
        return None if found is None else (found.area, found.mult)

    def functions(self, before_guidance: BeforeGuidance) -> OptionFunctions:
        return OptionFunctions(before_guidance)


class ForgeBackend(OwnBackend):
    """See `Backend`: Forge keeps a table of patches for each network, with its file."""

    def obstacle(self) -> None:
        """Every model's layers can be reached."""

    def remark(self) -> str | None:
        """Nothing to say."""
        return None

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
        original = original_objects()
        tensors = utils.load_torch_file(file, safe_load=True)
        unet, clip = lora_networks.load_lora_for_models(
            original.unet, original.clip, tensors, 1.0, 1.0, filename=file, online_mode=False
        )
        key: PatchKey = (file, 1.0, 1.0, False)
        return unet.lora_patches.get(key, {}), clip.patcher.lora_patches.get(key, {})

    def difference(self, layer: nn.Module, patch: Sequence[Any]) -> Tensor:
        """ValueError for a patch that makes a weight of another shape."""
        weight = plain_weight(layer)
        merged: Tensor = merge_lora_to_weight([patch], weight)
        if merged.shape != weight.shape:
            raise ValueError(f"it turns a weight of {tuple(weight.shape)} into one of {tuple(merged.shape)}")
        return merged - weight


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
