"""What the controls of the tab are answered, in plain values; no gradio."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

from loratorio_ext.server.history import PassRecord, PictureRecord, Record
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.ui.inspector.downloads import write_downloads
from loratorio_ext.ui.inspector.selection import STRENGTH, Selection, select
from loratorio_ext.ui.inspector.view import gone, nothing_yet, view

LONGEST_PROMPT: Final = 60
_TAGS: Final = re.compile(r"<[^<>]{0,200}>")
_NUMBER: Final = re.compile(r"\s*([0-9]{1,9})\b")


@dataclass(frozen=True)
class Controls:
    """The values of the tab's controls, as gradio hands them over.

    Entries of drop-down lists are texts that begin with a number, which every gradio takes and gives back.

    Attributes:
        run: an entry of the list of runs; None or anything else that names no run: the newest.
        picture: an entry of the list of pictures.
        sampling_pass: an entry of the list of passes.
        step: the slider; 0 is the mean over all steps.
        strength: the slider, 0 … 1.
    """

    run: object = None
    picture: object = None
    sampling_pass: object = None
    step: object = 0
    strength: object = STRENGTH

    def record(self, server: Server) -> Record | None:
        """The run; None where there is none, or it is no longer kept."""
        number = _number_in(self.run)
        if number is not None:
            return server.history.record(number)
        return next(iter(server.history.records()), None)

    def select(self, record: Record) -> Selection:
        """What they mean in a run."""
        return select(
            record,
            (_number_in(self.picture) or 1) - 1,
            (_number_in(self.sampling_pass) or 1) - 1,
            round(_finite(self.step, 0)),
            _finite(self.strength, STRENGTH),
        )


@dataclass(frozen=True)
class Page:
    """What the tab shows after a choice.

    Attributes:
        runs: entries of the list of runs, the newest first; `run` is the chosen one.
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
    runs = tuple(_run_label(record) for record in server.history.records())
    record = controls.record(server)
    if record is None:
        number = _number_in(controls.run)
        kept = server.options().history > 0
        html = gone(number, words) if number is not None else nothing_yet(words, kept=kept)
        return Page(runs, None, (), None, (), None, 0, 1, html)
    selection = controls.select(record)
    pictures = {
        id(one): _picture_label(place, one, words) for place, one in enumerate(record.run.pictures, 1)
    }
    passes = {id(one): _pass_label(place, one, words) for place, one in enumerate(selection.passes, 1)}
    return Page(
        runs=runs,
        run=_run_label(record),
        pictures=tuple(pictures.values()),
        picture=pictures.get(id(selection.picture)),
        passes=tuple(passes.values()),
        sampling_pass=passes.get(id(selection.sampling_pass)),
        step=selection.step,
        last_step=max(1, len(selection.steps)),
        html=view(selection, words),
    )


def files_of(server: Server, controls: Controls) -> list[str]:
    """Paths of new files with the report and the pictures; none where the run is no longer kept."""
    record = controls.record(server)
    return [] if record is None else write_downloads(controls.select(record), server.words())


def _run_label(record: Record) -> str:
    """Number, time of day where the server is, first words of the prompt without tags."""
    text = " ".join(_TAGS.sub(" ", record.run.prompt[:1000]).split())
    short = text if len(text) <= LONGEST_PROMPT else text[: LONGEST_PROMPT - 1].rstrip() + "…"
    parts = (f"{record.number}", f"{record.time.astimezone():%H:%M:%S}", short)
    return " · ".join(part for part in parts if part)


def _picture_label(place: int, picture: PictureRecord, words: Words) -> str:
    """Place, from 1, and seed."""
    return f"{place}" if picture.seed is None else f"{place} · " + words("seed {seed}", seed=picture.seed)


def _pass_label(place: int, one: PassRecord, words: Words) -> str:
    """Place, from 1, and what kind of pass it is."""
    kind = words("hires pass") if one.hires else words("pass")
    return f"{place} · {kind} · " + words("{count} steps", count=one.report.totals.steps)


def _number_in(label: object) -> int | None:
    """The number a label begins with; None where there is none."""
    found = _NUMBER.match(label) if isinstance(label, str) else None
    return None if found is None else int(found[1])


def _finite(value: object, default: float) -> float:
    """A slider's value; a page that is not ready yet may hand over nothing, and a stranger anything."""
    try:
        number = float(value) if isinstance(value, int | float) else default
    except OverflowError:
        return default
    return number if math.isfinite(number) else default
