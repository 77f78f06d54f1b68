"""The panel under the prompt: the settings, presets, the pool, and what a generation will cost."""

from __future__ import annotations

from loratorio_ext.ui.panel.build import Panel, build_panel
from loratorio_ext.ui.panel.inputs import PageInputs, TabInputs

__all__ = ["PageInputs", "Panel", "TabInputs", "build_panel"]
