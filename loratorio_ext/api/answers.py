"""The answers of the routes: what can be asked before a generation, and what after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from fastapi import Depends, HTTPException, Path, Query
from PIL import Image

from loratorio_ext import __version__
from loratorio_ext.api.exchange import Json, Png, read_body, whole
from loratorio_ext.networks.pool import choose_pool
from loratorio_ext.plots.pictures import Maps, heat, png, scale_of, territories
from loratorio_ext.run import Report
from loratorio_ext.server.estimate import PlannedSampling, cost_line, estimate, nothing_composed
from loratorio_ext.server.history import Record
from loratorio_ext.server.presets import OURS
from loratorio_ext.server.server import Server
from loratorio_ext.setting import Setting, shown
from loratorio_ext.settings import SETTINGS, settings_from_arguments, settings_schema

_POOL: Final = next(one for one in SETTINGS if one.name == "pool")
_CFG: Final = "Instead of guided: at 1 there is no unconditional prediction, except in AUTOMATIC1111's WebUI."
_SAMPLING: Final = (
    Setting("steps", 20, "Steps", "Evaluations of the model.", "", 1, 1000, 1),
    Setting("batch_size", 1, "Batch size", "Pictures in a batch; costs are per picture.", "", 1, 100, 1),
    Setting("guided", True, "Guided", "Whether there is an unconditional prediction.", ""),
    Setting("cfg_scale", 7.0, "CFG scale", _CFG, "", 0.0, 1000.0, 0.5),
)
_KEYS: Final = ("prompt", "settings", *(one.name for one in _SAMPLING))

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
class Answers:
    """Each is made of what the server knows now, of the networks as of the runs that are kept."""

    server: Server

    def version(self) -> Json:
        """The versions of LoRAtorio and its host."""
        host, version = self.server.host, self.server.version
        return Json({"version": __version__, "host": host, "host_version": version})

    def schema(self) -> Json:
        """The settings as a JSON Schema."""
        return Json(settings_schema())

    def networks(
        self,
        pool: str = Query(
            "",
            title=_POOL.allowed,
            max_length=int(_POOL.maximum or 0),
            description="Names or patterns separated by commas, as in the setting; a text on one line.",
        ),
        limit: int = whole(Query, 100, 1, 1000, "How many names at most."),
        offset: int = whole(Query, 0, 0, 10**6, "How many names to skip at the beginning."),
    ) -> Json:
        """The networks, and which of them a pool means."""
        try:
            pool = str(_POOL.parse(pool))
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        known = self.server.networks()
        chosen, unknown = choose_pool(pool, known)
        in_pool = frozenset(chosen)
        names = sorted(known)
        listed = [
            {
                "name": name,
                "path": known[name],
                "in_pool": name in in_pool,
                "trigger_words": list(self.server.triggers(name).words),
            }
            for name in names[offset : offset + limit]
        ]
        facts = {"in_pool": len(in_pool), "unknown": unknown}
        return Json({"total": len(names), "offset": offset, "limit": limit, "networks": listed, **facts})

    def presets(self) -> Json:
        """Settings under names, ours first."""
        found = self.server.presets.all().items()
        listed = [
            {"name": name, "built_in": name in OURS, "settings": dict(values)} for name, values in found
        ]
        return Json({"presets": listed})

    def estimate(self, body: object = Depends(read_body)) -> Json:
        """What a prompt will cost, and what will not work."""
        server, words = self.server, self.server.words()
        try:
            given = _checked(body)
            values = {one.name: one.check(given.get(one.name, one.default)) for one in _SAMPLING}
            settings = settings_from_arguments([given.get("settings", {})])
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        sampling = PlannedSampling(
            steps=int(values["steps"]),
            guided=bool(
                values["guided"] and server.guided(values["cfg_scale"])
            ),  # one of them is the default
            merged_on_top=server.merged_on_top,
            splits_at_and=server.splits_at_and,
            repeated=server.repeated,
            all_or_none=server.all_or_none,
        )
        known = server.networks()
        found = estimate(given["prompt"], settings, known, sampling, words, server.triggers, server.misfit)
        obstacle = server.obstacle()
        sentence = nothing_composed(obstacle, words) if obstacle else cost_line(found, words)
        more = {"sentence": sentence, "obstacle": obstacle or server.remark()}
        return Json({**found.to_dict(), **more})

    def reports(self, limit: int = _REPORTS) -> Json:
        """The last runs in short, the newest first."""
        records = self.server.history.records()
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
        record = self.server.history.record(number)
        if record is None:
            kept = ", ".join(str(one.number) for one in self.server.history.records())
            raise HTTPException(404, f"run {number} is not kept; those that are: {kept or 'none'}")
        return record


def _checked(body: object) -> Mapping[str, Any]:
    """The body of ``estimate``, whose keys fit; numbers and settings are checked by their own declarations.

    Raises:
        ValueError: says what is wrong and what to give.
    """
    if not isinstance(body, Mapping):
        raise ValueError(f'the body is {shown(body)}; give an object, for example {{"prompt": "..."}}')
    unknown = next((key for key in body if key not in _KEYS), None)
    if unknown is not None:
        raise ValueError(f"{shown(unknown)} is not known here; give {', '.join(_KEYS)}")
    prompt, named = body.get("prompt"), body.get("settings", {})
    if not isinstance(prompt, str):
        raise ValueError(f"prompt is {shown(prompt)}; give a text")
    if not isinstance(named, dict):
        raise ValueError(f'settings are {shown(named)}; give an object, for example {{"patch_size": 2}}')
    if "guided" in body and "cfg_scale" in body:
        raise ValueError("both guided and cfg_scale are given; give one of them")
    return body


def body_of_estimate() -> dict[str, Any]:
    """JSON Schema of the body of ``estimate``."""
    named = {key: value for key, value in settings_schema().items() if key != "$schema"}
    named["description"] = (
        f"As in the script's arguments: on, unless enabled is false. {named['description']}"
    )
    prompt = {"type": "string", "description": "With tags, as it would be typed."}
    sampling = {one.name: one.to_schema() for one in _SAMPLING}
    return {
        "type": "object",
        "properties": {"prompt": prompt, "settings": named, **sampling},
        "required": ["prompt"],
        "not": {"required": ["guided", "cfg_scale"]},
        "additionalProperties": False,
    }


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
