"""JSON Schemas of the answers."""

from __future__ import annotations

from typing import Any

from loratorio_ext.run import REPORT_SCHEMA
from loratorio_ext.server.presets import PRESET_SETTINGS
from loratorio_ext.settings_schema import setting_schema

Schema = dict[str, Any]


def text(description: str) -> Schema:
    """A text."""
    return {"type": "string", "description": description}


def count(description: str) -> Schema:
    """A whole number from 0."""
    return {"type": "integer", "minimum": 0, "description": description}


def flag(description: str) -> Schema:
    """True or false."""
    return {"type": "boolean", "description": description}


def listed(items: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": items}


def named(**properties: Schema) -> Schema:
    """An object with exactly these properties."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def optional(kind: str, description: str) -> Schema:
    """A value or null."""
    return {"anyOf": [{"type": kind}, {"type": "null"}], "description": description}


def version() -> Schema:
    """Of ``version``."""
    return named(
        version=text("LoRAtorio's version"),
        host=text("the WebUI's name, or diffusers"),
        host_version=text("its version in its own words; empty where it has none"),
    )


def networks() -> Schema:
    """Of ``networks``."""
    one = named(
        name=text("name or alias, as in a tag"),
        path=text("path below the folder of networks, without suffix"),
        in_pool=flag("whether the pool means it"),
    )
    return named(
        total=count("how many names there are"),
        offset=count("as asked"),
        limit=count("as asked"),
        networks=listed(one),
        in_pool=count("how many of all names the pool means"),
        unknown=listed(text("a part of the pool that means no network")),
    )


def presets() -> Schema:
    """Of ``presets``."""
    values = named(**{one.name: setting_schema(one) for one in PRESET_SETTINGS})
    one = named(name=text("the preset's name"), built_in=flag("false: a user's own"), settings=values)
    return named(presets=listed(one))


def estimate() -> Schema:
    """Of ``estimate``."""
    return named(
        composed=listed(text("a network that is composed")),
        kept=listed(text("a network that is kept merged")),
        of_pool=count("how many of the composed ones the pool brings"),
        rows=listed(count("predictions at this step for each picture")),
        plain_rows=count("predictions of a plain generation at a step"),
        ratio={"type": "number", "description": "predictions in all, in multiples of plain generation"},
        notes=listed(text("what will not be as one may think")),
        sentence=text("the cost in one sentence"),
        obstacle=optional("string", "why nothing, or not everything, can be composed with this model"),
    )


def reports() -> Schema:
    """Of ``reports``."""
    one = named(
        number=count("counts the server's runs, from 1"),
        time=text("when it was kept, UTC, ISO 8601"),
        prompt=text("its beginning"),
        pictures=count("how many"),
        passes=count("how many"),
        networks=listed(text("a network that was composed")),
        finished=flag("false: cancelled"),
        ratio=optional("number", "predictions, in multiples of plain generation"),
        warnings=count("how many"),
    )
    return named(total=count("how many are kept"), reports=listed(one))


def record() -> Schema:
    """Of one report."""
    report = {key: value for key, value in REPORT_SCHEMA.items() if key != "$schema"}
    return named(
        number=count("counts the server's runs, from 1"),
        time=text("when it was kept, UTC, ISO 8601"),
        prompt=text("the first prompt"),
        infotext=text("the first picture's infotext"),
        comments=listed(text("what was said under the picture")),
        pictures=listed(
            named(
                batch=count("number of its batch"),
                place=count("place in its batch"),
                seed=optional("integer", "its seed"),
            )
        ),
        passes=listed(named(batch=count("number of its batch"), hires=flag("a hires pass"), report=report)),
    )
