"""What a WebUI's hooks call for one generation, and where they find it: on ``p``, with which it goes."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from loratorio_ext.hosts.webuis.adapter import ExtraNetworkData
from loratorio_ext.hosts.webuis.conditions import use_the_webui_s_caches
from loratorio_ext.hosts.webuis.infotext import forget_infotext
from loratorio_ext.server.history import PassRecord

# Of p; scripts that copy p copy its generation too.
_ATTRIBUTE = "loratorio"
_OWNER = "loratorio_owner"


class Hooks:
    """What a WebUI's hooks call for one generation; this base class does nothing."""

    passes: Sequence[PassRecord] = ()
    """The sampling passes that composed, in order."""

    def networks_activated(self, p: Any, data: ExtraNetworkData) -> None:
        """``after_extra_networks_activate``: the coming pass has its networks, but nothing is encoded yet."""

    def before_encoding(self, p: Any) -> None:
        """``process_batch``: the prompts are encoded next."""

    def before_sampling(self, p: Any, x: Tensor) -> None:
        """``process_before_every_sampling``: a sampler begins, with the noisy latents [B, C, H, W]."""

    def before_call(self, p: Any, params: Any) -> None:
        """``on_cfg_denoiser``: the denoiser is about to evaluate."""

    def after_call(self, p: Any, predicted: Tensor) -> None:
        """``on_cfg_denoised``: the denoiser has the model's predictions."""

    def sampled(self, p: Any) -> None:
        """``post_sample``: the latents are finished; the VAE needs the memory more than we do."""

    def finished(self, p: Any) -> None:
        """``postprocess``: the pictures are finished."""


NO_GENERATION = Hooks()


def generation_of(p: Any) -> Hooks:
    """LoRAtorio's part of this generation; hooks that do nothing where it has none."""
    found: Hooks = getattr(p, _ATTRIBUTE, NO_GENERATION)
    return found


def begin(p: Any, generation: Hooks) -> None:
    """Let the hooks of ``p`` reach this part of its generation."""
    setattr(p, _ATTRIBUTE, generation)
    setattr(p, _OWNER, weakref.ref(p))


def is_copy(p: Any) -> bool:
    """Whether another extension made ``p`` from one whose generation goes on (ADetailer's ``copy(p)``)."""
    owner = getattr(p, _OWNER, None)
    return owner is not None and owner() is not p


def forget(p: Any) -> None:
    """Leave ``p`` as the WebUI made it."""
    forget_infotext(p)
    if hasattr(p, _ATTRIBUTE):
        delattr(p, _ATTRIBUTE)
        delattr(p, _OWNER)
        use_the_webui_s_caches(p)
