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
    """

    places: tuple[int, ...]
    names: tuple[str, ...]
    left_out: int

    def letter(self, index: int) -> str:
        """The letter of a drawn network, counted from 0: the cue beside its colour."""
        return LETTERS[index]


def shown_networks(report: Report, steps: Sequence[StepReport], image: int) -> Shown:
    """All composed networks, or those with most weight in this image where there are too many."""
    count = len(report.composed)
    places = range(count)
    if count > LARGEST:
        course = series(steps, image, range(count), "weight")
        total = [sum(value or 0.0 for value in line) for line in course]
        loudest = sorted(places, key=lambda place: -total[place])[:LARGEST]
        return _shown(report, sorted(loudest))
    return _shown(report, places)


def _shown(report: Report, places: Sequence[int]) -> Shown:
    names = tuple(report.composed[place] for place in places)
    return Shown(tuple(places), names, len(report.composed) - len(names))


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
