"""Forge as a host; only ``webui.py`` touches it."""

from __future__ import annotations

from loratorio_ext.hosts.forge.generation import forge_of
from loratorio_ext.hosts.forge.webui import ForgeBackend, missing_parts as missing_parts
from loratorio_ext.hosts.webuis.host import Webui


def make_webui() -> Webui:
    """The WebUI that runs here."""
    return forge_of("Forge", ForgeBackend())
