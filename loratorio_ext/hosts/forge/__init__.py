"""Forge as a host; only ``webui.py`` touches it."""

from __future__ import annotations

from loratorio_ext.hosts.forge.generation import ForgeGeneration
from loratorio_ext.hosts.forge.networks import network_of_pool
from loratorio_ext.hosts.forge.webui import ForgeServices, missing_parts as missing_parts
from loratorio_ext.hosts.webuis.host import Webui, webui_of


def make_webui() -> Webui:
    """The WebUI that runs here."""
    services = ForgeServices()
    return webui_of(services, ForgeGeneration, network_of_pool, merged_on_top=False, uncond_at_cfg_1=False)
