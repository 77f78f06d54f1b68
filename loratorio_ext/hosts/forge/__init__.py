"""Forge as a host. ``webui.py`` is where it is touched."""

from __future__ import annotations

from loratorio_ext.hosts.forge.host import DenoiserCallbacks, make_host, make_server
from loratorio_ext.hosts.forge.webui import api_credentials, api_is_on

__all__ = ["DenoiserCallbacks", "api_credentials", "api_is_on", "make_host", "make_server"]
