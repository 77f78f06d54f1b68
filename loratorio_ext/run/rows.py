"""The rows of a model call: what each batch row of a step is predicted with, and in which order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

# An int is the place of a network among the composed ones (the order of the tags, kept networks left out).
# "base": none of the composed networks. "merged": all of them at once, the usual way.
Source = int | Literal["base", "merged"]
Half = Literal["cond", "uncond"]


@dataclass(frozen=True)
class Row:
    """One row of a model call.

    Attributes:
        source: which of the composed networks act in the row. Networks that are kept merged act in every row.
        half: the conditional or the unconditional prediction.
        index: the conditional row r for "cond", the image b for "uncond".
    """

    source: Source
    half: Half
    index: int


@dataclass(frozen=True)
class NetworkUse:
    """A network as one generation uses it.

    Attributes:
        name: the name for the report; need not be unique.
        strength: the UNet strength: any finite number, 0 included.
        compose: False keeps the network merged in every row (acceleration networks, sliders).
    """

    name: str
    strength: float
    compose: bool = True


class Strengths:
    """The router's strengths of a row, one for each network in the order of ``uses``."""

    def __init__(self, uses: Sequence[NetworkUse]) -> None:
        """Check the strengths once.

        Raises:
            ValueError: a strength is not a finite number.
        """
        for use in uses:
            if isinstance(use.strength, bool) or not math.isfinite(use.strength):
                raise ValueError(
                    f"the strength of network {use.name!r} is {use.strength!r}; it must be a finite number, "
                    "such as 0.8: correct the number in its tag"
                )
        self._kept = tuple(0.0 if use.compose else float(use.strength) for use in uses)
        self._merged = tuple(float(use.strength) for use in uses)
        self._composed = tuple(place for place, use in enumerate(uses) if use.compose)

    def of(self, source: Source) -> tuple[float, ...]:
        """Strengths of the networks in a row with this source; [len(uses)]."""
        if source == "base":
            return self._kept
        if source == "merged":
            return self._merged
        own = self._composed[source]
        return tuple(
            strength if place == own else kept
            for place, (strength, kept) in enumerate(zip(self._merged, self._kept, strict=True))
        )


def rows_of(source: Source, cond: Iterable[int], uncond: Iterable[int]) -> tuple[Row, ...]:
    """Rows of one source, the conditional ones first; contiguous, so that the router can stack products."""
    return (
        *(Row(source, "cond", index) for index in cond),
        *(Row(source, "uncond", index) for index in uncond),
    )
