"""reForge and Forge Classic as hosts: the adapter for Forge, with a backend for ``ldm_patched``."""

from __future__ import annotations

from loratorio_ext.hosts.forge.generation import forge_of
from loratorio_ext.hosts.reforge.webui import LdmBackend, missing_parts as missing_parts, name
from loratorio_ext.hosts.webuis.host import Webui


def make_webui() -> Webui:
    """The WebUI that runs here."""
    return forge_of(name(), LdmBackend(), all_or_none=name() == "reForge")
