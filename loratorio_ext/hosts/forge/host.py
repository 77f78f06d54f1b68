"""Forge's callback before an evaluation, handed on to the generation that it belongs to."""

from __future__ import annotations

from typing import Any

from loratorio_ext.hosts.forge import webui
from loratorio_ext.hosts.forge.generation import Generation
from loratorio_ext.hosts.forge.networks import network_of_pool
from loratorio_ext.hosts.webuis.afterwards import Afterwards, Overlay
from loratorio_ext.hosts.webuis.host import Host, generation_of
from loratorio_ext.hosts.webuis.pool import Pool
from loratorio_ext.hosts.webuis.server import server_of
from loratorio_ext.server.server import Server


def make_server() -> Server:
    """The one server of this WebUI."""
    return server_of(webui, merged_on_top=False, uncond_at_cfg_1=False)


def make_host(server: Server, overlay: Overlay | None) -> Host:
    """What the script calls; one for each tab, all with the same server."""
    pool = Pool(webui, network_of_pool)
    return Host(
        lambda settings, store: Generation(settings, store, pool, server.options),
        Afterwards(webui, server, overlay),
    )


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
