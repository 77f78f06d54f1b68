"""Everything that is asked of ``ldm_patched``; the only file here that names the WebUIs' modules.

File references are to Panchovix/stable-diffusion-webui-reForge, commit 3b56b268, and to
Haoming02/sd-webui-forge-classic, commit 1f95d717. Both come from Forge before August 2024, and keep networks
as Forge Neo does; reForge has replaced ``ldm_patched`` by a newer state of ComfyUI.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import networks as lora_networks
from ldm_patched.modules import lora, model_management, samplers, sd
from ldm_patched.modules.model_patcher import ModelPatcher
from modules import sd_models
from modules_forge import forge_sampler
from torch import Tensor, nn

from loratorio_ext.hosts.forge.backend import Area, Dicts
from loratorio_ext.hosts.forge.option_functions import BeforeGuidance, OptionFunctions
from loratorio_ext.hosts.forge.tables import OneTable
from loratorio_ext.hosts.forge.webui import original_objects
from loratorio_ext.hosts.reforge.late_functions import LateFunctions


def missing_parts() -> list[str]:
    """What composing needs and this WebUI lacks."""
    needed = (
        (ModelPatcher, "calculate_weight"),
        (ModelPatcher, "add_patches"),
        (samplers, "get_area_and_mult"),
        (samplers, "calc_cond_uncond_batch"),
        (forge_sampler, "cond_from_a1111_to_patched_ldm_weighted"),
        (forge_sampler, "sampling_prepare"),
        (model_management, "current_loaded_models"),
        (sd, "load_lora_for_models"),
        (lora_networks, "load_lora_state_dict"),
        (lora_networks, "loaded_networks"),
    )
    return [f"{owner.__name__}.{name}" for owner, name in needed if not hasattr(owner, name)]


def name() -> str:
    """Of the WebUI, by what it has."""
    return "reForge" if _evaluates_in_an_option() else "Forge Classic"


class LdmBackend(OneTable):
    """See `Backend`."""

    def obstacle(self) -> str | None:
        """Where hooks on layers are not called (modules_forge/unet_patcher.py, compile_model)."""
        model: Any = sd_models.model_data.sd_model  # ``shared.sd_model`` would load one
        objects = getattr(model, "forge_objects", None)
        if objects is not None and hasattr(objects.unet.model.diffusion_model, "_orig_mod"):
            return "the model is compiled, and networks cannot be taken out of it; switch torch.compile off"
        return None

    def remark(self) -> str | None:
        """Nothing to say."""
        return None

    def check_latents(self, x: Tensor) -> None:
        """All latents are pictures."""

    def calls_rows_alone(self) -> bool:
        """No model looks at the number of rows."""
        return False

    def load_again(self, patcher: Any) -> None:
        self.load(patcher)

    def read_into_clones(self, file: str, unet: float, te: float) -> tuple[Any, Any]:
        """See `OneTable`."""
        original, tensors = original_objects(), lora_networks.load_lora_state_dict(file)
        return sd.load_lora_for_models(  # type: ignore[no-any-return]
            original.unet, original.clip, tensors, unet, te, filename=file
        )

    def difference(self, layer: nn.Module, patch: Sequence[Any]) -> Tensor:
        """Into a copy, since weights are merged in place; ValueError for a patch that changes their shape."""
        stored: Any = layer.weight
        convert: Any = getattr(layer, "convert_weight", None)  # of reForge's layers in scaled fp8 (ops.py)
        weight: Tensor = (stored.detach() if convert is None else convert(stored.detach())).float()
        # reForge warns where its patcher's own function is called.
        calculate = getattr(lora, "calculate_weight", None) or original_objects().unet.calculate_weight
        merged: Tensor = calculate([patch], weight.clone(), "composed")
        if merged.shape != weight.shape:
            raise ValueError(f"it turns a weight of {tuple(weight.shape)} into one of {tuple(merged.shape)}")
        return merged - weight

    # ------------------------------------------------ memory (ldm_patched/modules/model_management.py)

    def collect_memory(self) -> None:
        model_management.soft_empty_cache()

    def free_memory(self, x: Tensor) -> float:
        return float(model_management.get_free_memory(x.device))

    def total_memory(self, unet: Any) -> float:
        return float(model_management.get_total_memory(unet.load_device))

    def width(self, unet: Any) -> int:
        model = unet.model
        return int((getattr(model, "manual_cast_dtype", None) or model.get_dtype()).itemsize)

    def load(self, patcher: Any) -> None:
        model_management.load_model_gpu(patcher)

    def load_for_sampling(self, unet: Any, x: Tensor) -> None:
        forge_sampler.sampling_prepare(unet, x)

    def loaded(self) -> Sequence[Any]:
        return [one.model for one in model_management.current_loaded_models]

    # ------------------------------------------------ evaluations (ldm_patched/modules/samplers.py)

    def dicts_of(self, text: Any, composition: Any) -> Dicts:
        return forge_sampler.cond_from_a1111_to_patched_ldm_weighted(  # type: ignore[no-any-return]
            text, composition
        )

    def unweighted(self, text: Any) -> Dicts | None:
        return None if text is None else forge_sampler.cond_from_a1111_to_patched_ldm(text)

    def evaluate(
        self,
        model: Any,
        cond: Dicts,
        uncond: Dicts | None,
        x: Tensor,
        sigma: Tensor,
        model_options: Mapping[str, Any],
    ) -> tuple[Tensor, Tensor]:
        return samplers.calc_cond_uncond_batch(  # type: ignore[no-any-return]
            model, cond, uncond, x, sigma, model_options
        )

    def place_of(self, one: Mapping[str, Any], x: Tensor, sigma: Tensor) -> tuple[Area, Tensor] | None:
        """Where a dict acts everywhere, reForge has no area."""
        found = samplers.get_area_and_mult(one, x, sigma)
        if found is None:
            return None
        height, width, top, left = found.area or (*x.shape[2:], 0, 0)
        return (height, width, top, left), found.mult

    def functions(self, before_guidance: BeforeGuidance) -> OptionFunctions:
        """The pre-CFG functions of reForge come after the evaluation."""
        if not _evaluates_in_an_option():
            return OptionFunctions(before_guidance)

        def evaluate(asked: Mapping[str, Any]) -> Any:
            given = (asked[one] for one in ("model", "conds", "input", "sigma", "model_options"))
            return samplers.calc_cond_batch(*given)

        return LateFunctions(before_guidance, evaluate)


def _evaluates_in_an_option() -> bool:
    """Whether an option may make the evaluation, as in newer ComfyUI."""
    return hasattr(samplers, "calc_cond_batch")
