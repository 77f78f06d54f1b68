"""JSON Schemas of the answers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from loratorio_ext.run import REPORT_SCHEMA
from loratorio_ext.server.presets import PRESET_SETTINGS

Schema = dict[str, Any]

_KINDS: Final[Mapping[str, Schema]] = MappingProxyType(
    {
        "text": {"type": "string"},
        "count": {"type": "integer", "minimum": 0},
        "number": {"type": "number"},
        "flag": {"type": "boolean"},
        "text or null": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "number or null": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "integer or null": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
    }
)


def answers() -> dict[str, Schema]:
    """Path of a route → schema of its answer, for the routes that answer with JSON."""
    network = _named(
        name=("text", "name or alias, as in a tag"),
        path=("text", "path below the folder of networks, without suffix"),
        in_pool=("flag", "whether the pool means it"),
    )
    preset = _named(
        name=("text", "the preset's name"),
        built_in=("flag", "false: a user's own"),
        settings=_named(**{one.name: one.to_schema() for one in PRESET_SETTINGS}),
    )
    of_a_run: Mapping[str, tuple[str, str]] = {
        "number": ("count", "counts the server's runs, from 1"),
        "time": ("text", "when it was kept, UTC, ISO 8601"),
    }
    in_short = _named(
        **of_a_run,
        prompt=("text", "its beginning"),
        pictures=("count", "how many"),
        passes=("count", "how many"),
        networks=_listed("text", "a network that was composed"),
        finished=("flag", "false: cancelled"),
        ratio=("number or null", "predictions, in multiples of plain generation"),
        warnings=("count", "how many"),
    )
    picture = _named(
        batch=("count", "number of its batch"),
        place=("count", "place in its batch"),
        seed=("integer or null", "its seed"),
    )
    sampling_pass = _named(
        batch=("count", "number of its batch"),
        hires=("flag", "a hires pass"),
        report={key: value for key, value in REPORT_SCHEMA.items() if key != "$schema"},
    )
    return {
        "/version": _named(
            version=("text", "LoRAtorio's version"),
            host=("text", "the WebUI's name, or diffusers"),
            host_version=("text", "its version in its own words; empty where it has none"),
        ),
        "/settings/schema": {"type": "object", "description": "A JSON Schema, draft 2020-12."},
        "/networks": _named(
            total=("count", "how many names there are"),
            offset=("count", "as asked"),
            limit=("count", "as asked"),
            networks={"type": "array", "items": network},
            in_pool=("count", "how many of all names the pool means"),
            unknown=_listed("text", "a part of the pool that means no network"),
        ),
        "/presets": _named(presets={"type": "array", "items": preset}),
        "/estimate": _named(
            composed=_listed("text", "a network that is composed"),
            kept=_listed("text", "a network that is kept merged"),
            of_pool=("count", "how many of the composed ones the pool brings"),
            rows=_listed("count", "predictions at this step for each picture"),
            plain_rows=("count", "predictions of a plain generation at a step"),
            ratio=("number", "predictions in all, in multiples of plain generation"),
            notes=_listed("text", "what will not be as the user may expect"),
            sentence=("text", "the cost in one sentence"),
            obstacle=("text or null", "why nothing, or not everything, can be composed with this model"),
        ),
        "/reports": _named(
            total=("count", "how many are kept"), reports={"type": "array", "items": in_short}
        ),
        "/reports/{number}": _named(
            **of_a_run,
            prompt=("text", "the first prompt"),
            infotext=("text", "the first picture's infotext"),
            comments=_listed("text", "what was said under the picture"),
            pictures={"type": "array", "items": picture},
            passes={"type": "array", "items": sampling_pass},
        ),
    }


def problem(description: str) -> Schema:
    """OpenAPI's description of a refusal."""
    content = {"application/json": {"schema": _named(detail=("text", "what was wrong, and what to give"))}}
    return {"description": description, "content": content}


def _named(**properties: Schema | tuple[str, str]) -> Schema:
    """An object with exactly these properties; (kind, description) stands for the schema of one value."""
    schemas = {
        name: {**_KINDS[one[0]], "description": one[1]} if isinstance(one, tuple) else one
        for name, one in properties.items()
    }
    return {
        "type": "object",
        "properties": schemas,
        "required": list(schemas),
        "additionalProperties": False,
    }


def _listed(kind: str, description: str) -> Schema:
    return {"type": "array", "items": {**_KINDS[kind], "description": description}}
