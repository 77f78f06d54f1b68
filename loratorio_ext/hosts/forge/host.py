"""Forge's callback before an evaluation, handed on to the generation that it belongs to."""

from __future__ import annotations

from typing import Any

from loratorio_ext.hosts.forge.generation import Generation
from loratorio_ext.hosts.forge.pool import Pool
from loratorio_ext.hosts.webuis.host import Host, generation_of


def forge_host() -> Host[Generation]:
    """What the script calls; one for each tab."""
    pool = Pool()
    return Host(lambda settings, store: Generation(settings, store, pool))


class DenoiserCallbacks:
    """Forge has but one of the two callbacks around a model call."""

    def before_call(self, params: Any) -> None:
        """``on_cfg_denoiser``."""
        p = params.denoiser.p
        generation = generation_of(p)
        if generation is not None:
            generation.before_call(p, params)

    def after_call(self, params: Any) -> None:
        """``on_cfg_denoised``, which Forge never calls."""
