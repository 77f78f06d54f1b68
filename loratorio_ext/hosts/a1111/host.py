"""The WebUI's callbacks around a model call, handed on to the generation that they belong to."""

from __future__ import annotations

import weakref
from typing import Any

from loratorio_ext.hosts.a1111 import webui
from loratorio_ext.hosts.a1111.generation import Generation
from loratorio_ext.hosts.a1111.networks import network_of_pool
from loratorio_ext.hosts.webuis.afterwards import Afterwards, Overlay
from loratorio_ext.hosts.webuis.host import Host, generation_of
from loratorio_ext.hosts.webuis.pool import Pool
from loratorio_ext.hosts.webuis.server import server_of
from loratorio_ext.server.server import Server


def make_server() -> Server:
    """The one server of this WebUI."""
    return server_of(webui, merged_on_top=True, uncond_at_cfg_1=True)


def make_host(server: Server, overlay: Overlay | None) -> Host:
    """What the script calls; one for each tab, all with the same server."""
    pool = Pool(webui, network_of_pool)
    return Host(
        lambda settings, store: Generation(settings, store, pool, server.options),
        Afterwards(webui, server, overlay),
    )


class DenoiserCallbacks:
    """The pair of callbacks around a model call; the second is not told whose call it was."""

    def __init__(self) -> None:
        """Between two calls nothing is remembered."""
        self._p: weakref.ref[Any] | None = None

    def before_call(self, params: Any) -> None:
        """``on_cfg_denoiser``."""
        self._p = None
        p = params.denoiser.p
        generation = generation_of(p)
        if generation is not None:
            self._p = weakref.ref(p)
            generation.before_call(p, params)

    def after_call(self, params: Any) -> None:
        """``on_cfg_denoised``."""
        p = self._p() if self._p is not None else None
        self._p = None
        generation = None if p is None else generation_of(p)
        if generation is not None:
            generation.after_call(p, params.x)
