"""What is looked at: a picture of a run, one of its passes and steps, its networks, and their numbers."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from loratorio_ext.run import Report, StepReport
from loratorio_ext.server.history import PassRecord, PictureRecord, Record

Floats = npt.NDArray[np.float64]
LARGEST: Final = 12
"""Networks that are drawn; a pool may hold hundreds, and a page of them says nothing."""
LETTERS: Final = string.ascii_uppercase
STRENGTH: Final = 0.7
"""How much colors cover the picture unless the user says otherwise."""
_GREY: Final = (128, 128, 128)


@dataclass(frozen=True)
class Networks:
    """The networks that are drawn, in the order of the report.

    Attributes:
        places: their places among the composed networks.
        names: their names, as strangers wrote them.
        left_out: how many others took part and are not drawn.
        silent: which of those above, counted from 0, had no weight at any step; they keep their letters and
            colors, so that these are the same for all pictures of a run.
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
        """The letter of a drawn network, counted from 0, as a cue beside its color; "+" for all others."""
        return LETTERS[index] if index < len(self.names) else "+"


@dataclass(frozen=True)
class Selection:
    """What a choice means in a run.

    Attributes:
        record: the run.
        picture: None where the run has none.
        passes: those that drew the picture.
        sampling_pass: None where nothing is known of how the picture was drawn.
        steps: the steps of that pass.
        step: 1 … ``len(steps)``, or 0: the mean over all of them.
        strength: how much the colors cover the picture, 0 … 1.
    """

    record: Record
    picture: PictureRecord | None
    passes: tuple[PassRecord, ...]
    sampling_pass: PassRecord | None
    steps: tuple[StepReport, ...]
    step: int
    strength: float

    @property
    def report(self) -> Report | None:
        """The report of the pass."""
        return None if self.sampling_pass is None else self.sampling_pass.report

    @property
    def image(self) -> int:
        """The picture's place in its batch, as reports count images."""
        return 0 if self.picture is None else self.picture.place

    @property
    def selected_steps(self) -> tuple[StepReport, ...]:
        """The one step that is looked at, or all of them."""
        return self.steps[self.step - 1 : self.step] if self.step else self.steps

    @property
    def networks(self) -> Networks | None:
        """The networks of the pass; None where nothing is known of it."""
        return None if self.report is None else networks_in(self.report, self.image)

    @property
    def maps(self) -> Floats | None:
        """Weights [N, h, w] of all composed networks at the selected step, or the mean over all steps."""
        return mean_maps(self.selected_steps, self.image)

    def picture_over(self, maps: Floats | None) -> Image.Image:
        """The picture, RGB; where the run has none, a grey ground of the maps' proportions."""
        if self.picture is not None:
            return self.picture.image
        height, width = (1, 1) if maps is None else maps.shape[-2:]
        side = 512 / max(height, width)
        return Image.new("RGB", (max(1, round(width * side)), max(1, round(height * side))), _GREY)


def select(
    record: Record, picture: int = 0, sampling_pass: int = 0, step: int = 0, strength: float = STRENGTH
) -> Selection:
    """Find what a choice means in a run; numbers out of range are brought into it.

    ``picture`` and ``sampling_pass`` are places among the run's pictures and the picture's passes, from 0;
    the others are as in `Selection`.
    """
    pictures = record.run.pictures
    found = pictures[min(max(picture, 0), len(pictures) - 1)] if pictures else None
    # A run that was interrupted early may have passes and no picture.
    passes = record.run.passes if found is None else record.passes_of(found)
    one = passes[min(max(sampling_pass, 0), len(passes) - 1)] if passes else None
    steps = () if one is None else one.report.steps
    step, strength = min(max(step, 0), len(steps)), min(max(strength, 0.0), 1.0)
    return Selection(record, found, passes, one, steps, step, strength)


def networks_in(report: Report, image: int) -> Networks:
    """All composed networks, or those with most weight in this image where there are too many."""
    steps, count = report.steps, len(report.composed)
    lines = series(steps, image, range(count), "weight")
    places = list(range(count))
    if count > LARGEST:
        total = [sum(value or 0.0 for value in line) for line in lines]
        places = sorted(sorted(places, key=lambda place: -total[place])[:LARGEST])
    names = tuple(report.composed[place] for place in places)
    acted = {name for step in steps if image < len(step.chosen) for name in step.chosen[image]}
    silent = frozenset(
        index
        for index, place in enumerate(places)
        if names[index] not in acted and not any(value for value in lines[place])
    )
    silent = silent if len(silent) < len(names) else frozenset()
    return Networks(tuple(places), names, count - len(names), silent)


def series(
    steps: Sequence[StepReport], image: int, places: Sequence[int], name: Literal["weight", "similarity"]
) -> list[list[float | None]]:
    """For each network its value at each step in this image; None where there is none."""
    lines: list[list[float | None]] = [[] for _ in places]
    for step in steps:
        values = step.weight if name == "weight" else step.similarity
        for line, place in zip(lines, places, strict=True):
            of_images = values[place] if values is not None else ()
            line.append(of_images[image] if image < len(of_images) else None)
    return lines


def means(lines: Sequence[Sequence[float | None]]) -> list[float | None]:
    """The mean of each line's known values; None where none is known."""
    known = [[value for value in line if value is not None] for line in lines]
    return [sum(values) / len(values) if values else None for values in known]


def shortened(text: str, most: int) -> str:
    """The text, or its first characters and a sign that there are more, together at most ``most``."""
    return text if len(text) <= most else text[: most - 1] + "…"


def mean_maps(steps: Sequence[StepReport], image: int) -> Floats | None:
    """The mean over the steps that have maps of this image, [N, h, w]; None where none has."""
    total: Floats | None = None
    count = 0
    for step in steps:
        found = step.maps_of(image)
        # A host may have changed its mind about the size between two steps.
        if found is not None and (total is None or found.shape == total.shape):
            maps: Floats = np.nan_to_num(found.numpy().astype(np.float64))
            total, count = maps if total is None else total + maps, count + 1
    return None if total is None else total / count
