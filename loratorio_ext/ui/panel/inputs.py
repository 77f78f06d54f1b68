"""Inputs of the page around the panel, on which the cost of a generation depends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from loratorio_ext.server.estimate import PlannedSampling
from loratorio_ext.server.server import Server

_MOST_STEPS = 1000


@dataclass(frozen=True)
class PageInputs:
    """Gradio's components; None: not there, or made only after the panel.

    Attributes:
        prompt: the prompt's text box.
        steps: number of sampling steps.
        cfg_scale: the guidance scale; at 1 there is no unconditional prediction.
    """

    prompt: Any = None
    steps: Any = None
    cfg_scale: Any = None

    @property
    def inputs(self) -> list[Any]:
        """Those that are there, in the order above."""
        return [one for one in (self.prompt, self.steps, self.cfg_scale) if one is not None]

    def read(self, values: Sequence[object], server: Server) -> tuple[str, PlannedSampling]:
        """(prompt, sampling) from the values of ``inputs``; what is missing or odd has its default."""
        there = [one.name for one in fields(self) if getattr(self, one.name) is not None]
        found: dict[str, object] = dict(zip(there, values, strict=False))
        prompt, steps = found.get("prompt"), found.get("steps")
        # The page may be sent anything, and long lists take time.
        count = steps if isinstance(steps, int | float) and not isinstance(steps, bool) else 0
        sampling = PlannedSampling(
            steps=int(count) if 1 <= count <= _MOST_STEPS else PlannedSampling.steps,
            guided=server.guided(found.get("cfg_scale")),
            merged_on_top=server.merged_on_top,
            splits_at_and=server.splits_at_and,
        )
        return (prompt if isinstance(prompt, str) else ""), sampling


class TabInputs:
    """Collects the inputs of a WebUI's tab while the WebUI builds it, until the panel is built."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}

    def notice(self, component: Any, elem_id: object, is_img2img: bool) -> None:
        """A component has been made (``Script.after_component``); ids are those of modules/ui.py."""
        tab = "img2img_" if is_img2img else "txt2img_"
        name = str(elem_id).removeprefix(tab)
        if str(elem_id).startswith(tab) and name in (one.name for one in fields(PageInputs)):
            self._found[name] = component

    def take(self) -> PageInputs:
        """What has been noticed, once.

        The WebUI's API builds the panel again, outside of the page, where these components must not be used.
        """
        found, self._found = self._found, {}
        return PageInputs(**found)
