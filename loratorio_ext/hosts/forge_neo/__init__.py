"""Forge Neo as a host: the adapter for Forge, with a backend of its own; only ``webui.py`` touches it."""

from __future__ import annotations

from loratorio_ext.hosts.forge.generation import forge_of
from loratorio_ext.hosts.forge_neo.generation import NeoGeneration
from loratorio_ext.hosts.forge_neo.webui import NeoBackend, missing_parts as missing_parts
from loratorio_ext.hosts.webuis.host import Webui


def make_webui() -> Webui:
    """The WebUI that runs here."""
    return forge_of("Forge Neo", NeoBackend(), generation=NeoGeneration)
