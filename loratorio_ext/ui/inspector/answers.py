"""What the controls of the tab are answered, in plain values; no gradio."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loratorio_ext.server import record as records
from loratorio_ext.server.server import Server
from loratorio_ext.ui.inspector.downloads import write_downloads
from loratorio_ext.ui.inspector.labels import number_in, pass_label, picture_label, place_in, run_label
from loratorio_ext.ui.inspector.looked import Choice, Looked, look
from loratorio_ext.ui.inspector.view import gone, nothing_yet, view


@dataclass(frozen=True)
class Controls:
    """The values of the tab's controls, as gradio hands them over.

    Attributes:
        run: an entry of the dropdown of runs; None or anything else that names no run: the newest.
        picture: an entry of the dropdown of pictures.
        sampling_pass: an entry of the dropdown of passes.
        step: the slider; 0 is the mean over all steps.
        strength: the slider, 0 … 1.
    """

    run: object = None
    picture: object = None
    sampling_pass: object = None
    step: object = 0
    strength: object = 0.7

    @property
    def choice(self) -> Choice:
        """The same in numbers."""
        return Choice(
            place_in(self.picture),
            place_in(self.sampling_pass),
            round(_number(self.step, 0)),
            _number(self.strength, 0.7),
        )


@dataclass(frozen=True)
class Page:
    """What the tab shows after a choice.

    Attributes:
        runs: entries of the dropdown of runs, the newest first; `run` is the chosen one.
        pictures: entries for the pictures; `picture` is the chosen one.
        passes: entries for the passes; `sampling_pass` is the chosen one.
        step: the step that is looked at.
        last_step: the highest step that can be chosen, at least 1.
        html: the view.
    """

    runs: tuple[str, ...]
    run: str | None
    pictures: tuple[str, ...]
    picture: str | None
    passes: tuple[str, ...]
    sampling_pass: str | None
    step: int
    last_step: int
    html: str


def page_of(server: Server, controls: Controls) -> Page:
    """All entries and the view for a choice; what does not fit the run is brought into its range."""
    words = server.words()
    runs = tuple(run_label(record) for record in server.history.records())
    record = _record(server, controls)
    if record is None:
        number = number_in(controls.run)
        kept = server.options().history > 0
        html = gone(number, words) if number is not None else nothing_yet(words, kept=kept)
        return Page(runs, None, (), None, (), None, 0, 1, html)
    looked = look(record, controls.choice)
    pictures = tuple(picture_label(place, one, words) for place, one in enumerate(record.run.pictures))
    passes = tuple(pass_label(place, one, words) for place, one in enumerate(looked.passes))
    return Page(
        runs=runs,
        run=run_label(record),
        pictures=pictures,
        picture=None if looked.picture is None else pictures[record.run.pictures.index(looked.picture)],
        passes=passes,
        sampling_pass=None if looked.sampling_pass is None else passes[_place(looked)],
        step=looked.step,
        last_step=max(1, len(looked.steps)),
        html=view(record, controls.choice, words),
    )


def html_of(server: Server, controls: Controls) -> str:
    """The view alone."""
    return page_of(server, controls).html


def files_of(server: Server, controls: Controls) -> list[str]:
    """Paths of new files with the report and the pictures; none where the run is no longer kept."""
    record = _record(server, controls)
    return [] if record is None else write_downloads(look(record, controls.choice), server.words())


def _record(server: Server, controls: Controls) -> records.Record | None:
    number = number_in(controls.run)
    if number is not None:
        return server.history.record(number)
    return next(iter(server.history.records()), None)


def _place(looked: Looked) -> int:
    return next(place for place, one in enumerate(looked.passes) if one is looked.sampling_pass)


def _number(value: object, default: float) -> float:
    """A slider's value; a page that is not ready yet may hand over nothing, and a stranger's anything."""
    try:
        number = float(value) if isinstance(value, int | float) else default
    except OverflowError:
        return default
    return number if math.isfinite(number) else default
