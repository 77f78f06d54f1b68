"""Puts the embedded model, its networks and the page's script into the wheel; hatchling calls it."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DemoData(BuildHookInterface):
    """Adds `demo/` as `loratorio_ext/demo_data`, and `javascript/`.

    Hatchling's own `force-include` would copy the folders for an editable install too, which finds them in
    the checkout anyway.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a build; `version` is "standard" or "editable"."""
        if version == "standard":
            build_data["force_include"]["demo"] = "loratorio_ext/demo_data"
            build_data["force_include"]["javascript"] = "loratorio_ext/javascript"
