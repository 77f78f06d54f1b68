"""What can be asked after a generation: the runs that are kept, their maps and pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from fastapi import HTTPException, Path, Query
from PIL import Image

from loratorio_ext.api.exchange import Json, Png, whole
from loratorio_ext.plots.pictures import Maps, heat, png, scale_of, territories
from loratorio_ext.run import Report
from loratorio_ext.server.history import History, Record

LONGEST_PROMPT_SHOWN: Final = 200  # characters
_MOST_STEPS_SHOWN: Final = 20
_GREY: Final = (128, 128, 128)
_HIGHEST: Final = 10**9

_RUN: Final = whole(Path, ..., 1, _HIGHEST, "Number of the run, as in the list of reports.")
_PASS: Final = whole(Path, ..., 0, _HIGHEST, "Place of the pass in the run, from 0.", alias="pass")
_IMAGE: Final = whole(Path, ..., 0, _HIGHEST, "Place of the picture in its batch, from 0.")
_NETWORK: Final = whole(Path, ..., 0, _HIGHEST, "Place of the network in the report's list composed, from 0.")
_PICTURE: Final = whole(Path, ..., 0, _HIGHEST, "Place of the picture in the run, from 0.")
_STEP: Final = whole(
    Query, None, 0, _HIGHEST, "Index of the evaluation. Without it: the last one with a map."
)
_SIZE: Final = whole(Query, 512, 16, 1024, "The map's longest side in pixels.")
_REPORTS: Final = whole(Query, 20, 1, 100, "How many runs at most.")

_One = TypeVar("_One")


@dataclass(frozen=True)
class After:
    """The answers, each made of the runs that are kept now."""

    history: History

    def reports(self, limit: int = _REPORTS) -> Json:
        """The last runs in short, the newest first."""
        records = self.history.records()
        return Json({"total": len(records), "reports": [_short(one) for one in records[:limit]]})

    def report(self, number: int = _RUN) -> Json:
        """One run."""
        return Json(self._record(number).to_dict())

    def picture(self, number: int = _RUN, index: int = _PICTURE) -> Png:
        """A picture of a run, made smaller."""
        return Png(_at(self._record(number).run.pictures, index, "picture").png)

    def map_of_network(
        self,
        number: int = _RUN,
        sampling_pass: int = _PASS,
        image: int = _IMAGE,
        network: int = _NETWORK,
        step: int | None = _STEP,
        size: int = _SIZE,
    ) -> Png:
        """Where one network spoke.

        Dark stands for the lowest weight of all networks at this step, light for the highest.
        """
        report = _at(self._record(number).run.passes, sampling_pass, "pass").report
        maps = _maps(report, image, step)
        _at(report.composed, network, "network")
        return Png(png(heat(maps[network], scale_of(list(maps)), _size(maps, size))))

    def map_of_all(
        self,
        number: int = _RUN,
        sampling_pass: int = _PASS,
        image: int = _IMAGE,
        step: int | None = _STEP,
        size: int = _SIZE,
    ) -> Png:
        """Which network spoke loudest where, over the picture."""
        run = self._record(number).run
        one = _at(run.passes, sampling_pass, "pass")
        maps = _maps(one.report, image, step)
        drawn = next((each for each in run.pictures if (each.batch, each.place) == (one.batch, image)), None)
        # A cancelled run has maps and no picture.
        ground = Image.new("RGB", _size(maps, size), _GREY) if drawn is None else drawn.image
        return Png(png(territories(ground, maps, _size(maps, size))))

    def _record(self, number: int) -> Record:
        record = self.history.record(number)
        if record is None:
            kept = ", ".join(str(one.number) for one in self.history.records())
            raise HTTPException(404, f"run {number} is not kept; those that are: {kept or 'none'}")
        return record


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


def _at(found: Sequence[_One], place: int, what: str) -> _One:
    if place < len(found):
        return found[place]
    allowed = f"give a number from 0 to {len(found) - 1}" if found else "there is none"
    raise HTTPException(404, f"there is no {what} {place}; {allowed}")


def _maps(report: Report, image: int, step: int | None) -> Maps:
    """Weights [N, h, w] of the step that was asked for, else of the last step with maps."""
    maps = {one.index: found for one in report.steps if (found := one.maps_of(image)) is not None}
    if not maps:
        images = max((len(one.chosen) for one in report.steps), default=0)
        why = "nothing was composed in it" if image < images else f"it has {images} images"
        raise HTTPException(404, f"the pass has no map of image {image}: {why}")
    step = max(maps) if step is None else step
    if step not in maps:
        steps = ", ".join(str(index) for index in list(maps)[:_MOST_STEPS_SHOWN])
        more = ", ..." if len(maps) > _MOST_STEPS_SHOWN else ""
        raise HTTPException(404, f"step {step} has no map; those with one are {steps}{more}")
    return maps[step].numpy()


def _size(maps: Maps, longest: int) -> tuple[int, int]:
    """Width and height in the map's proportions."""
    height, width = maps.shape[1:]
    side = max(height, width)
    return max(1, round(longest * width / side)), max(1, round(longest * height / side))
