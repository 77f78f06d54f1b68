"""The panel under the prompt: the settings, presets, the pool, and what a generation will cost."""

from __future__ import annotations

from loratorio_ext.ui.panel.around import Around
from loratorio_ext.ui.panel.build import Panel, build_panel

__all__ = ["Around", "Panel", "build_panel"]
