"""The entries of the dropdowns: texts that begin with a number, which every gradio takes and gives back."""

from __future__ import annotations

import re
from typing import Final

from loratorio_ext.server.record import PassRecord, PictureRecord, Record
from loratorio_ext.server.words import Words

LONGEST_PROMPT: Final = 60
_TAGS: Final = re.compile(r"<[^<>]{0,200}>")
_NUMBER: Final = re.compile(r"\s*([0-9]{1,9})\b")


def number_in(label: object) -> int | None:
    """The number a label begins with; None where there is none."""
    found = _NUMBER.match(label) if isinstance(label, str) else None
    return None if found is None else int(found[1])


def place_in(label: object) -> int:
    """The same as a place counted from 0; the first where there is none."""
    return max(0, (number_in(label) or 1) - 1)


def run_label(record: Record) -> str:
    """Number, time of day where the server is, first words of the prompt without tags."""
    text = " ".join(_TAGS.sub(" ", record.run.prompt[:1000]).split())
    short = text if len(text) <= LONGEST_PROMPT else text[: LONGEST_PROMPT - 1].rstrip() + "…"
    return " · ".join(
        part for part in (f"{record.number}", f"{record.time.astimezone():%H:%M:%S}", short) if part
    )


def picture_label(place: int, picture: PictureRecord, words: Words) -> str:
    """Place, counted from 0 in the run and from 1 in the label, and seed."""
    if picture.seed is None:
        return f"{place + 1}"
    return f"{place + 1} · " + words("seed {seed}", seed=picture.seed)


def pass_label(place: int, one: PassRecord, words: Words) -> str:
    """Place, counted from 0 and shown from 1, and what kind of pass it is."""
    kind = words("hires pass") if one.hires else words("pass")
    return f"{place + 1} · {kind} · " + words("{count} steps", count=one.report.totals.steps)
