"""From what a user chose to what is there: a picture, one of its passes, one of its steps."""

from __future__ import annotations

from dataclasses import dataclass

from loratorio_ext.run import Report, StepReport
from loratorio_ext.server.record import PassRecord, PictureRecord, Record


@dataclass(frozen=True)
class Choice:
    """What to look at in a run; what is out of range is brought into it.

    Attributes:
        picture: place among the run's pictures, from 0.
        sampling_pass: place among the picture's passes, from 0.
        step: from 1; 0 is the mean over all steps.
        strength: how much the colours cover the picture, 0 … 1.
    """

    picture: int = 0
    sampling_pass: int = 0
    step: int = 0
    strength: float = 0.7


@dataclass(frozen=True)
class Looked:
    """What a choice means in a run.

    Attributes:
        record: the run.
        picture: None where the run has none.
        passes: those that drew the picture.
        sampling_pass: None where nothing is known of how the picture was drawn.
        steps: the steps of that pass.
        step: 1 … ``len(steps)``, or 0: the mean over all of them.
        strength: 0 … 1.
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
    def at(self) -> StepReport | None:
        """The one step that is looked at; None: the mean over all."""
        return self.steps[self.step - 1] if self.step else None


def look(record: Record, choice: Choice) -> Looked:
    """Find what a choice means; never raises for numbers out of range."""
    pictures = record.run.pictures
    picture = pictures[_within(choice.picture, len(pictures))] if pictures else None
    # A run that was interrupted early may have passes and no picture.
    passes = record.run.passes if picture is None else record.passes_of(picture)
    chosen = passes[_within(choice.sampling_pass, len(passes))] if passes else None
    steps = () if chosen is None else chosen.report.steps
    step = min(max(choice.step, 0), len(steps))
    return Looked(record, picture, passes, chosen, steps, step, min(max(choice.strength, 0.0), 1.0))


def _within(place: int, count: int) -> int:
    return min(max(place, 0), count - 1)
