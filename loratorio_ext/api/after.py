"""What can be asked after a generation: the runs that are kept, their maps and pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final, TypeVar

from PIL import Image

from loratorio_ext.api.question import Question, Refusal
from loratorio_ext.plots.pictures import Maps, heat, scale_of, territories
from loratorio_ext.run import Report
from loratorio_ext.server.record import PassRecord, PictureRecord, Record

LONGEST_PROMPT_SHOWN: Final = 200  # characters
_MOST_STEPS_SHOWN: Final = 20
_GREY: Final = (128, 128, 128)

_One = TypeVar("_One")


def reports(question: Question) -> object:
    """The last runs in short, the newest first."""
    records = question.server.history.records()
    return {"total": len(records), "reports": [_short(one) for one in records[: question.number("limit")]]}


def report(question: Question) -> object:
    """One run."""
    return _record(question).to_dict()


def picture(question: Question) -> bytes:
    """A picture of a run, as PNG."""
    return _at(_record(question).run.pictures, question.number("index"), "picture").png


def map_of_network(question: Question) -> bytes:
    """Where one network spoke, as PNG.

    Dark stands for the lowest weight of all networks at this step, light for the highest.
    """
    one = _pass(question)
    maps = _maps(question, one.report)
    place = question.number("network")
    _at(one.report.composed, place, "network")
    return _png(heat(maps[place], scale_of(list(maps)), _size(maps, question.number("size"))))


def map_of_all(question: Question) -> bytes:
    """Who spoke loudest where, over the picture, as PNG."""
    one = _pass(question)
    maps = _maps(question, one.report)
    size = _size(maps, question.number("size"))
    pictures = _record(question).run.pictures
    drawn = next((picture for picture in pictures if _shows(picture, one, question.number("image"))), None)
    # A cancelled run has maps and no picture.
    ground = Image.new("RGB", size, _GREY) if drawn is None else drawn.image
    return _png(territories(ground, maps, size))


def _short(record: Record) -> dict[str, object]:
    reports = [one.report for one in record.run.passes]
    totals = [one.totals for one in reports]
    plain = sum(one.plain_rows for one in totals)
    return {
        "number": record.number,
        "time": record.time.isoformat(timespec="seconds"),
        "prompt": record.run.prompt[:LONGEST_PROMPT_SHOWN],
        "pictures": len(record.run.pictures),
        "passes": len(reports),
        "networks": list(dict.fromkeys(name for one in reports for name in one.composed)),
        "finished": all(one.finished for one in reports),
        "ratio": sum(one.rows for one in totals) / plain if plain else None,
        "warnings": sum(len(one.warnings) for one in reports),
    }


def _record(question: Question) -> Record:
    number = question.number("number")
    record = question.server.history.record(number)
    if record is None:
        kept = ", ".join(str(one.number) for one in question.server.history.records())
        raise Refusal(404, f"run {number} is not kept; those are {kept or 'none'}")
    return record


def _pass(question: Question) -> PassRecord:
    return _at(_record(question).run.passes, question.number("pass"), "pass")


def _at(found: Sequence[_One], place: int, what: str) -> _One:
    if place < len(found):
        return found[place]
    allowed = f"give a number from 0 to {len(found) - 1}" if found else "there is none"
    raise Refusal(404, f"there is no {what} {place}; {allowed}")


def _maps(question: Question, report: Report) -> Maps:
    """Weights [N, h, w] of the step that was asked for, else of the last step with maps."""
    image = question.number("image")
    maps = {step.index: found for step in report.steps if (found := step.maps_of(image)) is not None}
    if not maps:
        images = max((len(step.chosen) for step in report.steps), default=0)
        why = "nothing was composed in it" if image < images else f"it has {images} images"
        raise Refusal(404, f"the pass has no map of image {image}: {why}")
    step = int(question.given.get("step", max(maps)))
    if step not in maps:
        steps = [str(index) for index in maps]
        more = ", ..." if len(steps) > _MOST_STEPS_SHOWN else ""
        raise Refusal(
            404, f"step {step} has no map; those with one are {', '.join(steps[:_MOST_STEPS_SHOWN])}{more}"
        )
    return maps[step].numpy()


def _shows(picture: PictureRecord, one: PassRecord, image: int) -> bool:
    return (picture.batch, picture.place) == (one.batch, image)


def _size(maps: Maps, longest: int) -> tuple[int, int]:
    """Width and height in the map's proportions."""
    height, width = maps.shape[1:]
    side = max(height, width)
    return max(1, round(longest * width / side)), max(1, round(longest * height / side))


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
