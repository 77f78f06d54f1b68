"""AUTOMATIC1111's WebUI as a host; only ``webui.py`` touches it."""

from __future__ import annotations

from loratorio_ext.hosts.a1111.generation import A1111Generation
from loratorio_ext.hosts.a1111.networks import network_of_pool
from loratorio_ext.hosts.a1111.webui import A1111Services, missing_parts as missing_parts
from loratorio_ext.hosts.webuis.host import Webui, webui_of


def make_webui() -> Webui:
    """The WebUI that runs here."""
    services = A1111Services()
    return webui_of(
        services, A1111Generation, network_of_pool, merged_on_top=True, uncond_at_cfg_1=True, repeated="twice"
    )
