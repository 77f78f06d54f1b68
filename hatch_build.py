"""Puts what the package finds beside it in a checkout into the wheel; called by hatchling."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FoldersBeside(BuildHookInterface):
    """Adds the embedded model and its networks, the languages and the page's script.

    Hatchling's own `force-include` would copy the folders for an editable install too, which finds them in
    the checkout anyway.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a build; `version` is "standard" or "editable"."""
        if version == "standard":
            build_data["force_include"]["demo"] = "loratorio_ext/demo_data"
            for folder in ("localizations", "javascript"):
                build_data["force_include"][folder] = f"loratorio_ext/{folder}"
