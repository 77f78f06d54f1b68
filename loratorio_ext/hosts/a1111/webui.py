"""Everything that is asked of AUTOMATIC1111's WebUI; the only file here that names its modules.

What all WebUIs offer under the same names is in ``hosts/webuis/webui.py``.

File references are to v1.10.1 (commit 82a973c0). ``networks`` is the built-in Lora extension's module; the
WebUI loads it before the extensions of users (modules/extensions.py), and it stays in ``sys.modules``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import networks as lora_networks
from modules import devices, prompt_parser, sd_hijack, sd_models, sd_samplers_timesteps, sd_unet, shared
from torch import Tensor, nn

from loratorio_ext.hosts.webuis.webui import WebuiServices, keeps_conds as keeps_conds

THREE_PREDICTIONS = (
    "InstructPix2Pix with an image CFG scale other than 1 is guided by three predictions, which cannot be "
    "composed"
)

_NEEDED = (
    "loaded_networks",
    "networks_in_memory",
    "available_networks",
    "available_network_aliases",
    "list_available_networks",
    "load_network",
)

_TEXT_OPTIONS = (
    "comma_padding_backtrack",
    "sdxl_refiner_low_aesthetic_score",
    "sdxl_refiner_high_aesthetic_score",
)


def missing_parts() -> list[str]:
    """What we need from the Lora extension and this one lacks; relatives of the WebUI may differ there."""
    return [f"networks.{name}" for name in _NEEDED if not hasattr(lora_networks, name)]


class A1111Services(WebuiServices):
    """See `WebuiServices`."""

    name = "AUTOMATIC1111"

    def obstacle(self) -> str | None:
        """Why nothing can be composed; no model is loaded to find out."""
        return unet_out_of_reach()

    def remark(self) -> str | None:
        """Of InstructPix2Pix."""
        return THREE_PREDICTIONS if is_edit_model() else None

    def model_identity(self) -> tuple[int, str]:
        """Changes when another checkpoint is loaded, also into the same modules (modules/sd_models.py)."""
        info = shared.sd_model.sd_checkpoint_info
        return id(shared.sd_model), str(getattr(info, "filename", info))

    def collect_memory(self) -> None:
        """Give memory that nothing uses back to the device."""
        devices.torch_gc()


# ------------------------------------------------ networks (extensions-builtin/Lora/networks.py)


def loaded_networks() -> list[Any]:
    """The list that decides what the WebUI merges into a layer's weights the next time the layer runs."""
    loaded: list[Any] = lora_networks.loaded_networks
    return loaded


def networks_in_memory() -> dict[str, Any]:
    """Networks that the next activation need not read again; it drops those beyond the user's limit."""
    kept: dict[str, Any] = lora_networks.networks_in_memory
    return kept


def load_network(name: str, file: str) -> Any:
    """Read a network with the WebUI's own loader."""
    on_disk = next(one for one in lora_networks.available_networks.values() if one.filename == file)
    return lora_networks.load_network(name, on_disk)


# ------------------------------------------------ the model


def unet_out_of_reach() -> str | None:
    """Why no layer of the UNet can be reached, or None: something may have replaced it (TensorRT)."""
    replacement = sd_unet.current_unet
    if replacement is None:
        return None
    return f"the UNet is replaced by {type(replacement).__name__}, whose layers cannot be reached"


def layers() -> Mapping[str, nn.Module]:
    """Layer name → module, of text encoders and UNet."""
    mapping: Mapping[str, nn.Module] = shared.sd_model.network_layer_mapping
    return mapping


@contextmanager
def unet_calls(look: Callable[[Tensor], None]) -> Iterator[None]:
    """While this lasts, ``look`` is shown the latents [rows, C, H, W] of each of the UNet's calls."""
    unet = shared.sd_model.model.diffusion_model
    handle = unet.register_forward_pre_hook(lambda unet, args: look(args[0]))
    try:
        yield
    finally:
        handle.remove()


def blocks_are_replaced() -> bool:
    """Whether another extension has put a forward of its own into blocks of this UNet.

    ControlNet's reference and StyleAlign do, to remember the rows of a call (scripts/hook.py); afterwards a
    block has its class's own again.
    """
    for block in shared.sd_model.model.diffusion_model.modules():
        forward = vars(block).get("_forward")
        own = getattr(type(block), "_forward", None)
        if forward is not None and getattr(forward, "__func__", forward) is not own:
            return True
    return False


def is_edit_model() -> bool:
    """InstructPix2Pix, which guides by an image too (modules/sd_samplers_cfg_denoiser.py).

    False where no model is loaded; ``shared.sd_model`` would load one.
    """
    return str(getattr(sd_models.model_data.sd_model, "cond_stage_key", "")) == "edit"


def conditioning_key() -> str:
    """How the model takes its conditions."""
    return str(getattr(shared.sd_model.model, "conditioning_key", "crossattn"))


# ------------------------------------------------ conditions


def conds_at(c: Any, step: int) -> tuple[list[list[tuple[int, float]]], Any]:
    """([(row, AND weight), ...] of every image; the rows' conditions) of a model call (prompt_parser.py)."""
    return prompt_parser.reconstruct_multicond_batch(c, step)  # type: ignore[no-any-return]


def unconds_at(uc: Any, step: int) -> Any:
    """The unconditional rows of a model call."""
    return prompt_parser.reconstruct_cond_batch(uc, step)


def text_options() -> tuple[object, ...]:
    """What the text encoders' output depends on besides what the WebUI's own caches are keyed by.

    Textual inversions and a few options (modules/sd_hijack_clip.py, modules/sd_models_xl.py).
    """
    inversions = sd_hijack.model_hijack.embedding_db.word_embeddings.items()
    return (
        tuple((name, str(one.shorthash), one.vectors) for name, one in inversions),
        *(getattr(shared.opts, name, None) for name in _TEXT_OPTIONS),
    )


# ------------------------------------------------ options and progress


def batches_cond_and_uncond() -> bool:
    """Whether more than one image's rows may share a model call."""
    return bool(shared.opts.batch_cond_uncond)


def padding() -> str | None:
    """The denoiser's method that pads cond and uncond to the same length; None: separate calls."""
    if shared.opts.pad_cond_uncond_v0:
        return "pad_cond_uncond_v0"
    return "pad_cond_uncond" if shared.opts.pad_cond_uncond else None


def predicts_noise(denoiser: Any) -> bool:
    """Whether the sampler's predictions are noise; else they are denoised latents."""
    return isinstance(denoiser, sd_samplers_timesteps.CFGDenoiserTimesteps)


def skips_uncond(denoiser: Any, sigma: Any) -> bool:
    """Whether this model call has no unconditional rows: "skip early CFG" or NGMS.

    Decided as in CFGDenoiser.forward, which does not pass it to callbacks.
    """
    opts = shared.opts
    early = opts.skip_early_cond
    if early != 0.0 and denoiser.step / denoiser.total_steps <= early:
        return True
    least = denoiser.sampler.sampler_extra_args["s_min_uncond"]
    return bool((denoiser.step % 2 or opts.s_min_uncond_all) and least > 0 and sigma[0] < least)


def autocast() -> AbstractContextManager[None]:
    """A context with the precision in which the WebUI calculates."""
    context: AbstractContextManager[None] = devices.autocast()
    return context
