"""AUTOMATIC1111's WebUI as a host. ``webui.py`` is where it is touched."""

from __future__ import annotations

from loratorio_ext.hosts.a1111.host import A1111Host, DenoiserCallbacks

__all__ = ["A1111Host", "DenoiserCallbacks"]
