"""Components of the page around the panel, on which the cost of a generation depends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from loratorio_ext.server.estimate import Plan
from loratorio_ext.server.server import Server


@dataclass(frozen=True)
class Around:
    """Gradio's components; None: not there, or made only after the panel.

    Attributes:
        prompt: the prompt's text box.
        steps: number of sampling steps.
        guidance: the CFG scale; at 1 there is no unconditional prediction.
        images: pictures in a batch.
    """

    prompt: Any = None
    steps: Any = None
    guidance: Any = None
    images: Any = None

    @property
    def inputs(self) -> list[Any]:
        """Those that are there, in the order above."""
        return [one for one in (self.prompt, self.steps, self.guidance, self.images) if one is not None]

    def read(self, values: Sequence[object], server: Server) -> tuple[str, Plan]:
        """(prompt, plan) from the values of ``inputs``; what is missing or odd counts as `Plan` has it."""
        there = [one.name for one in fields(self) if getattr(self, one.name) is not None]
        found: dict[str, object] = dict(zip(there, values, strict=False))
        plan = Plan(
            steps=_count(found.get("steps"), Plan.steps, 1000),
            guided=server.guided(found.get("guidance")),
            images=_count(found.get("images"), Plan.images, 1000),
            merged_on_top=server.merged_on_top,
            parted_by_and=server.parted_by_and,
        )
        prompt = found.get("prompt")
        return (prompt if isinstance(prompt, str) else ""), plan


def _count(value: object, default: int, most: int) -> int:
    """A whole number from 1; the page may be sent anything, and long lists take time."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= most:
        return default
    return int(value)
