"""AUTOMATIC1111's WebUI as a host. ``webui.py`` is where it is touched."""

from __future__ import annotations

from loratorio_ext.hosts.a1111.host import DenoiserCallbacks, a1111_host

__all__ = ["DenoiserCallbacks", "a1111_host"]
