"""Everything that is asked of Forge Neo and not of Forge; the only file here that names its modules.

File references are to Haoming02/sd-webui-forge-classic, branch neo, release 2.26. Its patchers have one table
of patches for all networks, without the files that they come from (backend/patcher/base.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import networks as lora_networks
from backend import args
from backend.patcher import base, lora
from backend.sampling import condition, sampling_function
from backend.state_dict import state_dict_prefix_replace
from modules import shared
from torch import Tensor, nn

from loratorio_ext.hosts.forge.own_backend import OwnBackend, plain_weight
from loratorio_ext.hosts.forge.tables import OneTable
from loratorio_ext.hosts.forge.webui import original_objects
from loratorio_ext.hosts.webuis.adapter import NotComposableError


def missing_parts() -> list[str]:
    """What composing needs and this backend lacks."""
    needed = (
        (base.ModelPatcher, "add_patches"),
        (base.ModelPatcher, "partially_load"),
        (base, "LowVramPatch"),
        (lora, "merge_lora_to_weight"),
        (args, "dynamic_args"),
        (sampling_function, "get_area_and_mult"),
        (sampling_function, "calc_cond_uncond_batch"),
        (sampling_function, "sampling_prepare"),
        (condition, "compile_weighted_conditions"),
        (lora_networks, "load_lora_for_models"),
        (lora_networks, "load_lora_state_dict"),
        (lora_networks, "loaded_networks"),
    )
    given = getattr(args, "dynamic_args", None)
    asked = ("concat_latent", "nunchaku", "online_lora", "ref_latents")
    return [
        *(f"{owner.__name__}.{name}" for owner, name in needed if not hasattr(owner, name)),
        *(f"dynamic_args.{name}" for name in asked if not hasattr(given, name)),
    ]


def is_compiled() -> bool:
    """Whether hooks on the model's layers may not be called (extensions-builtin/sd_forge_compile)."""
    unet = getattr(getattr(getattr(shared, "sd_model", None), "forge_objects", None), "unet", None)
    return getattr(getattr(unet, "model", None), "_torch_compile_config", None) is not None


class NeoBackend(OneTable, OwnBackend):
    """See `Backend`."""

    def obstacle(self) -> str | None:
        """Where networks do not stand in patchers, or where hooks on layers are not called."""
        if args.dynamic_args.nunchaku:
            return "Nunchaku keeps networks inside its own model, where they cannot be evaluated one by one"
        if is_compiled():
            return "the model is compiled, and networks cannot be taken out of it; switch Torch Compile off"
        return None

    def remark(self) -> str | None:
        """Videos, and pictures that the model looks at window by window."""
        if getattr(args.dynamic_args, "context_handler", None) is not None:
            return "where this model looks at a picture window by window, the networks act merged"
        if getattr(args.dynamic_args, "wan", False):
            return "with a batch size above 4 this model draws a video, in which the networks act merged"
        return None

    def check_latents(self, x: Tensor) -> None:
        obstacle = self.obstacle()  # the model is compiled after networks are activated (process_batch)
        if obstacle is not None:
            raise NotComposableError(obstacle)
        if x.dim() == 5 and x.shape[2] != 1:
            raise NotComposableError(
                f"the latents are a video of {x.shape[2]} frames; only still pictures can be composed"
            )
        windows = getattr(args.dynamic_args, "context_handler", None)
        if getattr(windows, "should_use_context", lambda x: False)(x):
            raise NotComposableError("the model looks at the picture window by window")

    def calls_rows_alone(self) -> bool:
        """References are for the rows of one image (nn/anima.py, nn/wan.py); their tokens follow its own."""
        return bool(args.dynamic_args.ref_latents) or args.dynamic_args.concat_latent is not None

    def load_again(self, patcher: Any) -> None:
        self.load(patcher)

    def read_into_clones(self, file: str, unet: float, te: float) -> tuple[Any, Any]:
        """See `OneTable`."""
        original = original_objects()
        tensors = lora_networks.load_lora_state_dict(file)
        if any(key.startswith("lora_unet__") for key in tensors):
            tensors = state_dict_prefix_replace(tensors, {"lora_unet__": "lora_unet_"})
        online = bool(args.dynamic_args.online_lora)
        return lora_networks.load_lora_for_models(  # type: ignore[no-any-return]
            original.unet, original.clip, tensors, unet, te, filename=file, online_mode=online
        )

    def difference(self, layer: nn.Module, patch: Sequence[Any]) -> Tensor:
        """Into a copy, since Neo merges in place; ValueError for a patch that changes the weight's shape."""
        weight = self._weight(layer)
        merged: Tensor = lora.merge_lora_to_weight([tuple(patch)[:5]], weight.clone(), "composed")
        if merged.shape != weight.shape:
            raise ValueError(f"it turns a weight of {tuple(weight.shape)} into one of {tuple(merged.shape)}")
        return merged - weight

    def _weight(self, layer: Any) -> Tensor:
        """In float32; layers of mixed precision have a function for it (operations_mixed_precision.py)."""
        convert = getattr(layer, "convert_weight", None)
        if convert is None:
            return plain_weight(layer)
        weight: Tensor = convert(layer.weight.detach())
        return weight.float()


# ------------------------------------------------ pictures for reference (backend/diffusion_engine)


def start_picture() -> Tensor | None:
    """What img2img begins with, until encoding the positive prompt hands it to the model and drops it."""
    found: Tensor | None = getattr(shared.sd_model, "ini_latent", None)
    return found


def has_references() -> bool:
    """Whether the model sees other pictures beside its own, or encoding a prompt would change that."""
    stitched = getattr(shared.sd_model, "ref_latents", ())
    return bool(args.dynamic_args.ref_latents or stitched) or start_picture() is not None


@contextmanager
def keeping_references(start: Tensor | None) -> Iterator[None]:
    """While this lasts, prompts are encoded with ``start``; afterwards the model sees what it saw before."""
    model, seen = shared.sd_model, [*args.dynamic_args.ref_latents]
    if start is not None:
        model.ini_latent = start
    try:
        yield
    finally:
        if start is not None:
            model.ini_latent = None
        args.dynamic_args.ref_latents = seen
