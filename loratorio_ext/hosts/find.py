"""Which WebUI this is, by what can be imported; never by a version."""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from torch import Tensor

from loratorio_ext.hosts.webuis.comments import say
from loratorio_ext.hosts.webuis.host import Host
from loratorio_ext.hosts.webuis.tags import ExtraNetworkData

logger = logging.getLogger("loratorio")


class Callbacks(Protocol):
    """Around every model call of a sampler."""

    def before_call(self, params: Any) -> None:
        """``on_cfg_denoiser``."""

    def after_call(self, params: Any) -> None:
        """``on_cfg_denoised``."""


def host_of_this_webui() -> Host:
    """What the script calls; one for each tab."""
    if _is_forge():
        forge = _adapter_of_forge()
        return _unsupported_host() if forge is None else forge.forge_host()
    if _has_another_backend():
        return _unsupported_host()
    from loratorio_ext.hosts.a1111 import a1111_host

    return a1111_host()


def callbacks_of_this_webui() -> Callbacks | None:
    """What is called around model calls; None where nothing can be composed."""
    if _is_forge():
        forge = _adapter_of_forge()
        return None if forge is None else forge.DenoiserCallbacks()
    if _has_another_backend():
        return None
    from loratorio_ext.hosts import a1111

    return a1111.DenoiserCallbacks()


def _adapter_of_forge() -> Any:
    """The adapter; None where it lacks something that it asks for: a relative of Forge, or no lora script."""
    try:
        return import_module("loratorio_ext.hosts.forge")
    except ImportError as error:
        logger.warning("this WebUI looks like Forge but lacks a part of it: %s", error)
        return None


def _unsupported_host() -> Host:
    return Host(lambda settings, store: _Unsupported())


class _Unsupported:
    """Says so, and leaves the generation alone."""

    def networks_activated(self, p: Any, data: ExtraNetworkData) -> None:
        say(
            p,
            "this WebUI has a backend that LoRAtorio does not know, so the networks act merged, the usual "
            "way; it composes in AUTOMATIC1111's WebUI and in Forge",
        )

    def before_encoding(self, p: Any) -> None:
        """Nothing."""

    def before_sampling(self, p: Any, x: Tensor) -> None:
        """Nothing."""

    def sampled(self, p: Any) -> None:
        """Nothing."""

    def finished(self, p: Any) -> None:
        """Nothing."""


def _is_forge() -> bool:
    """Forge since August 2024, when its backend became its own."""
    return all(map(_there, ("modules_forge", "backend.sampling.sampling_function", "backend.patcher.lora")))


def _has_another_backend() -> bool:
    """Older Forge and what stems from it has ldm_patched in A1111's place (reForge, Forge Classic)."""
    return _there("ldm_patched") or _there("backend.memory_management")


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False
