"""What can be asked before a generation: version, settings, networks, presets, costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Depends, HTTPException, Query

from loratorio_ext import __version__
from loratorio_ext.api.exchange import Json, read_body, whole
from loratorio_ext.networks.prompt import choose_pool
from loratorio_ext.server.estimate import PlannedSampling, cost_line, estimate
from loratorio_ext.server.presets import OURS
from loratorio_ext.server.server import Server
from loratorio_ext.setting import Setting, Value, shown
from loratorio_ext.settings import SETTINGS, settings_from_arguments, settings_schema

_POOL: Final = next(one for one in SETTINGS if one.name == "pool")
_SAMPLING: Final = (
    Setting("steps", 20, "Steps", "Evaluations of the model.", "", 1, 1000, 1),
    Setting("batch_size", 1, "Batch size", "Pictures in a batch; costs are per picture.", "", 1, 100, 1),
    Setting("guided", True, "Guided", "Whether there is an unconditional prediction.", ""),
    Setting(
        "cfg_scale",
        7.0,
        "CFG scale",
        "Instead of guided: at 1 there is no unconditional prediction, except in AUTOMATIC1111's WebUI.",
        "",
        0.0,
        1000.0,
        0.5,
    ),
)
_KEYS: Final = ("prompt", "settings", *(one.name for one in _SAMPLING))


@dataclass(frozen=True)
class Before:
    """The answers, each made of what the server knows now."""

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
            {"name": name, "path": known[name], "in_pool": name in in_pool}
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
            values: dict[str, Value] = {
                one.name: one.check(given[one.name]) for one in _SAMPLING if one.name in given
            }
            settings = settings_from_arguments([given.get("settings", {})])
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        sampling = PlannedSampling(
            steps=int(values.get("steps", PlannedSampling.steps)),
            guided=bool(values.get("guided", server.guided(values.get("cfg_scale")))),
            merged_on_top=server.merged_on_top,
            splits_at_and=server.splits_at_and,
        )
        found = estimate(given["prompt"], settings, server.networks(), sampling, words)
        more = {"sentence": cost_line(found, words), "obstacle": server.obstacle()}
        return Json({**found.to_dict(), **more})


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
