"""What can be asked before a generation: version, settings, networks, presets, costs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from loratorio_ext import __version__
from loratorio_ext.api.question import Question, Refusal
from loratorio_ext.arguments import settings_from_arguments
from loratorio_ext.networks.prompt import choose_pool
from loratorio_ext.server.estimate import Plan, cost_line, estimate
from loratorio_ext.server.presets import OURS
from loratorio_ext.setting import Setting, Value, shown
from loratorio_ext.settings_schema import setting_schema, settings_schema

_PLAN: Final = (
    Setting("steps", 20, "Steps", "Evaluations of the model.", "", 1, 1000, 1),
    Setting("batch_size", 1, "Batch size", "Pictures in a batch.", "", 1, 100, 1),
    Setting("guided", True, "Guided", "Whether there is an unconditional prediction.", ""),
    Setting(
        "cfg_scale",
        7.0,
        "CFG scale",
        "In place of guided: at 1 there is no unconditional prediction, but in AUTOMATIC1111's WebUI.",
        "",
        0.0,
        1000.0,
        0.5,
    ),
)
_KEYS: Final = ("prompt", "settings", *(one.name for one in _PLAN))


def version(question: Question) -> object:
    """Who answers here."""
    server = question.server
    return {"version": __version__, "host": server.host, "host_version": server.version}


def schema(question: Question) -> object:
    """The settings, as a JSON Schema."""
    return settings_schema()


def networks(question: Question) -> object:
    """The names of networks, and which of them a pool means."""
    known = question.server.networks()
    chosen, unknown = choose_pool(question.text("pool"), known)
    pool = frozenset(chosen)
    offset, limit = question.number("offset"), question.number("limit")
    names = sorted(known)
    return {
        "total": len(names),
        "offset": offset,
        "limit": limit,
        "networks": [
            {"name": name, "path": known[name], "in_pool": name in pool}
            for name in names[offset : offset + limit]
        ],
        "in_pool": len(pool),
        "unknown": unknown,
    }


def presets(question: Question) -> object:
    """The presets, ours first."""
    found = question.server.presets.all()
    return {
        "presets": [
            {"name": name, "built_in": name in OURS, "settings": dict(values)}
            for name, values in found.items()
        ]
    }


def cost(question: Question) -> object:
    """What a prompt costs, and what will not work."""
    body = question.body
    if not isinstance(body, Mapping):
        raise Refusal(422, f'the body is {shown(body)}; give an object: {{"prompt": "..."}}, say')
    for key in body:
        if key not in _KEYS:
            raise Refusal(422, f"{shown(key)} is not known here; give {', '.join(_KEYS)}")
    prompt = body.get("prompt")
    if not isinstance(prompt, str):
        raise Refusal(422, f"prompt is {shown(prompt)}; give a text")
    named = body.get("settings", {})
    if not isinstance(named, dict):
        raise Refusal(422, f'settings are {shown(named)}; give an object: {{"patch_size": 2}}, say')
    if "guided" in body and "cfg_scale" in body:
        raise Refusal(422, "both guided and cfg_scale are there; give one of them")
    server = question.server
    try:
        given: dict[str, Value] = {one.name: one.check(body[one.name]) for one in _PLAN if one.name in body}
        settings = settings_from_arguments([named])
    except ValueError as error:
        raise Refusal(422, str(error)) from error
    plan = Plan(
        steps=int(given.get("steps", 20)),
        guided=bool(given.get("guided", server.guided(given.get("cfg_scale")))),
        images=int(given.get("batch_size", 1)),
        merged_on_top=server.merged_on_top,
        parted_by_and=server.parted_by_and,
    )
    words = server.words()
    found = estimate(prompt, settings, server.networks(), plan, words)
    return {**found.to_dict(), "sentence": cost_line(found, words), "obstacle": server.obstacle()}


def body_of_cost() -> dict[str, Any]:
    """JSON Schema of ``estimate``'s body."""
    named = {key: value for key, value in settings_schema().items() if key != "$schema"}
    prompt = {"type": "string", "description": "With tags, as it would be typed."}
    named["description"] = (
        f"As in the script's arguments: on, unless enabled is false. {named['description']}"
    )
    return {
        "type": "object",
        "properties": {
            "prompt": prompt,
            "settings": named,
            **{one.name: setting_schema(one) for one in _PLAN},
        },
        "required": ["prompt"],
        "not": {"required": ["guided", "cfg_scale"]},
        "additionalProperties": False,
    }
