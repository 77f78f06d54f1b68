"""Forge as a host, and what its relatives share with it."""

from __future__ import annotations

from loratorio_ext.hosts.webuis.host import Webui

# Relatives import this package too, and not all have Forge's own backend.


def missing_parts() -> list[str]:
    """What composing needs and this WebUI lacks."""
    from loratorio_ext.hosts.forge.own_backend import missing_parts

    return missing_parts()


def make_webui() -> Webui:
    """The WebUI that runs here."""
    from loratorio_ext.hosts.forge.generation import forge_of
    from loratorio_ext.hosts.forge.own_backend import ForgeBackend

    return forge_of("Forge", ForgeBackend(), all_or_none=True)
