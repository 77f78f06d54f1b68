"""Which WebUI this is, by what can be imported; never by a version."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol

from loratorio_ext.hosts.webuis.afterwards import Overlay
from loratorio_ext.hosts.webuis.host import Host
from loratorio_ext.hosts.webuis.server import server_without_networks
from loratorio_ext.hosts.webuis.unsupported import Unsupported
from loratorio_ext.server.server import Server

logger = logging.getLogger("loratorio")

_UNKNOWN = "this WebUI has a backend that LoRAtorio does not know"
_LACKING = "this WebUI lacks a part that LoRAtorio needs, its Lora extension most likely"


class Callbacks(Protocol):
    """Around every model call of a sampler."""

    def before_call(self, params: Any) -> None:
        """``on_cfg_denoiser``."""

    def after_call(self, params: Any) -> None:
        """``on_cfg_denoised``."""


@dataclass(frozen=True)
class Api:
    """The API that the WebUI serves.

    Attributes:
        credentials: user → password of those who may use it; None: everybody.
    """

    credentials: Mapping[str, str] | None = field(default=None, repr=False)


def server_of_this_webui() -> Server:
    """The one server, for pages, API and the hosts of both tabs; made once."""
    found = _adapter()
    if isinstance(found, str):
        return server_without_networks(found)
    return found.make_server()  # type: ignore[no-any-return]


def host_of_this_webui(server: Server, overlay: Overlay | None = None) -> Host:
    """What the script calls; one for each tab.

    Args:
        server: of ``server_of_this_webui``.
        overlay: draws who spoke where for beside the pictures, where the user wants that.
    """
    found = _adapter()
    if isinstance(found, str):
        return Host(lambda settings, store: Unsupported(found))
    return found.make_host(server, overlay)  # type: ignore[no-any-return]


def callbacks_of_this_webui() -> Callbacks | None:
    """What is called around model calls; None where nothing can be composed."""
    found = _adapter()
    return None if isinstance(found, str) else found.DenoiserCallbacks()


def api_of_this_webui() -> Api | None:
    """The WebUI's API; None where it serves none, so that there is nothing for ours to stand beside.

    Raises:
        ValueError: passwords that cannot be read; the WebUI's own API does not start then.
    """
    found = _adapter()
    if isinstance(found, str) or not found.api_is_on():
        return None
    return Api(found.api_credentials())


def _adapter() -> Any:
    """The package of the adapter, or a sentence why there is none."""
    if not _is_forge() and _has_another_backend():
        return _UNKNOWN
    name = "forge" if _is_forge() else "a1111"
    try:
        return import_module(f"loratorio_ext.hosts.{name}")
    except ImportError as error:  # a relative of this WebUI, or its Lora extension is disabled
        logger.warning("this WebUI looks like %s but lacks a part of it: %s", name, error)
        return _LACKING


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
