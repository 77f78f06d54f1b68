"""The numbers that are drawn: which networks, their maps and their course over the steps."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from loratorio_ext.run import Report, StepReport

Floats = npt.NDArray[np.float64]
LARGEST: Final = 12
"""Networks that are drawn; a pool may hold hundreds, and a page of them says nothing."""
LETTERS: Final = string.ascii_uppercase


@dataclass(frozen=True)
class Shown:
    """The networks that are drawn, in the order of the report.

    Attributes:
        places: their places among the composed networks.
        names: their names, as strangers wrote them.
        left_out: how many others took part and are not drawn.
        silent: which of those above, counted from 0, had no weight at any step; they keep their letters and
            colours, so that these are the same for all pictures of a run.
    """

    places: tuple[int, ...]
    names: tuple[str, ...]
    left_out: int
    silent: frozenset[int]

    @property
    def speaking(self) -> tuple[int, ...]:
        """Which of the networks, counted from 0, are to be told about."""
        return tuple(index for index in range(len(self.places)) if index not in self.silent)

    @property
    def silent_names(self) -> str:
        """The names of those that had no weight, for a sentence."""
        return ", ".join(self.names[index] for index in sorted(self.silent))

    def letter(self, index: int) -> str:
        """The letter of a drawn network, counted from 0: the cue beside its colour."""
        return LETTERS[index]


def shown_networks(report: Report, steps: Sequence[StepReport], image: int) -> Shown:
    """All composed networks, or those with most weight in this image where there are too many."""
    count = len(report.composed)
    course = series(steps, image, range(count), "weight")
    places = range(count) if count <= LARGEST else _loudest(course)
    names = tuple(report.composed[place] for place in places)
    acted = {name for step in steps if image < len(step.chosen) for name in step.chosen[image]}
    silent = frozenset(
        index
        for index, place in enumerate(places)
        if names[index] not in acted and not any(value for value in course[place])
    )
    return Shown(
        tuple(places), names, count - len(names), silent if len(silent) < len(names) else frozenset()
    )


def _loudest(course: Sequence[Sequence[float | None]]) -> list[int]:
    total = [sum(value or 0.0 for value in line) for line in course]
    return sorted(sorted(range(len(course)), key=lambda place: -total[place])[:LARGEST])


def series(
    steps: Sequence[StepReport], image: int, places: Sequence[int], name: Literal["weight", "similarity"]
) -> list[list[float | None]]:
    """For each network its value at each step in this image; None where there is none."""
    lines: list[list[float | None]] = [[] for _ in places]
    for step in steps:
        values = step.weight if name == "weight" else step.similarity
        for line, place in zip(lines, places, strict=True):
            known = values is not None and image < len(values[place])
            line.append(values[place][image] if values is not None and known else None)
    return lines


def maps_of(steps: Sequence[StepReport], image: int) -> Floats | None:
    """The mean over the steps that have maps of this image, [N, h, w]; None where none has."""
    total: Floats | None = None
    count = 0
    for step in steps:
        found = step.maps_of(image)
        if found is None:
            continue
        maps: Floats = np.nan_to_num(found.numpy().astype(np.float64))
        if total is None:
            total, count = maps, 1
        elif maps.shape == total.shape:  # a host may have changed its mind about the number of steps
            total, count = total + maps, count + 1
    return None if total is None else total / count


def with_others(maps: Floats, shown: Shown) -> Floats:
    """The maps of the drawn networks, and the loudest of all others as the last one if there are others."""
    drawn: Floats = maps[list(shown.places)]
    if not shown.left_out:
        return drawn
    others = np.delete(maps, list(shown.places), axis=0).max(axis=0, keepdims=True)
    return np.concatenate([drawn, others])


def shares(maps: Floats) -> list[float]:
    """The part of the picture in which each network is the loudest, 0 … 1; `maps` is [N, h, w]."""
    loudest = maps.argmax(axis=0)
    return [float((loudest == place).mean()) for place in range(len(maps))]
