"""Forge as a host. ``webui.py`` is where it is touched."""

from __future__ import annotations

from loratorio_ext.hosts.forge.host import DenoiserCallbacks, forge_host

__all__ = ["DenoiserCallbacks", "forge_host"]
