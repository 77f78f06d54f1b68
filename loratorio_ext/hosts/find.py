"""Which WebUI this is, by what can be imported; never by a version."""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.util import find_spec

from loratorio_ext.hosts.webuis.host import Webui, unsupported_webui

logger = logging.getLogger("loratorio")

_UNKNOWN = "this WebUI has a backend that LoRAtorio does not know"
_LACKING = "this WebUI lacks a part that LoRAtorio needs, most likely its Lora extension"


def this_webui() -> Webui:
    """The WebUI that runs here; called once, since tabs, pages and API share what is in it.

    Where nothing can be composed, the server's obstacle and every generation say why.
    """
    if not logger.isEnabledFor(logging.WARNING):
        logger.setLevel(logging.WARNING)  # Forge Neo sets the root to ERROR (modules/logging_config.py)
    names: tuple[str, ...] = ("a1111",)
    if _is_older_forge():
        names = ("reforge",)
    elif _is_forge():
        names = ("forge", "forge_neo")
    elif _has_another_backend():
        return unsupported_webui(_UNKNOWN)
    missing: list[str] = []
    for name in names:
        try:
            adapter = import_module(f"loratorio_ext.hosts.{name}")
            missing = adapter.missing_parts()
        except ImportError as error:  # a relative of this WebUI, or its Lora extension is disabled
            if missing:
                break
            logger.warning("this WebUI looks like %s but lacks a part of it: %s", name, error)
            return unsupported_webui(f"{_LACKING} ({str(error).removesuffix(f' ({error.path})')})")
        if not missing:
            webui: Webui = adapter.make_webui()
            return webui
        logger.info("this WebUI is not %s, since it has no %s", name, ", ".join(missing))
    logger.warning("this WebUI has no %s", ", ".join(missing))
    return unsupported_webui(f"{_UNKNOWN} (it has no {missing[0]})")


def _is_forge() -> bool:
    """Forge since August 2024, when its backend became its own, and Forge Neo."""
    return all(map(_there, ("modules_forge", "backend.sampling.sampling_function", "backend.patcher.lora")))


def _is_older_forge() -> bool:
    """Forge before that, and what comes from it: reForge and Forge Classic."""
    return all(map(_there, ("modules_forge.forge_sampler", "ldm_patched.modules.samplers")))


def _has_another_backend() -> bool:
    """Further relatives."""
    return _there("ldm_patched") or _there("backend.memory_management")


def _there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # a package above it is missing
        return False
