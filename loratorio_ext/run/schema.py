"""The JSON form of a report. A change that breaks readers raises the version; new fields alone do not."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

REPORT_NAME: Final = "loratorio.report"
REPORT_VERSION: Final = 1


def _object(**properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _list(items: object) -> dict[str, object]:
    return {"type": "array", "items": items}


def _text(description: str, **more: object) -> dict[str, object]:
    return {"type": "string", "description": description, **more}


def _count(description: str, minimum: int = 0) -> dict[str, object]:
    return {"type": "integer", "minimum": minimum, "description": description}


def _flag(description: str) -> dict[str, object]:
    return {"type": "boolean", "description": description}


def _per_image(description: str) -> dict[str, object]:
    number = {"type": ["number", "null"]}
    return {"type": ["array", "null"], "items": _list(number), "description": description}


def _step() -> dict[str, object]:
    return _object(
        index=_count("number of the evaluation of the model, from 0"),
        sigma={"type": ["number", "null"], "description": "noise level or timestep as the host counts it"},
        mode=_text("what was done", enum=["composed", "base", "merged", "switch", "composite"]),
        scan=_flag("whether all networks were evaluated to be compared"),
        reused=_flag("whether no network was evaluated, and what each had added last was added again"),
        rows=_count("rows through the model, those that the host predicts itself included"),
        plain_rows=_count("rows that a plain generation would have evaluated"),
        calls=_count("model calls likewise"),
        seconds={"type": "number", "minimum": 0},
        similarity=_per_image(
            "mean cosine to the base for each composed network and image; null where it was not evaluated or "
            "not finite, or when nothing was compared"
        ),
        weight=_per_image("mean weight likewise, from 0 to 1"),
        chosen=_list(_list(_text("name of a network that acted on this image"))),
        non_finite=_list(_text("name of a network whose prediction held NaN or infinity")),
        non_finite_in=_list(_list(_text("the same for each image: name of a network"))),
        finite=_flag("whether the prediction that the sampler got held neither NaN nor infinity"),
        fallback=_flag("whether the base prediction was used where no network was usable"),
        halvings=_list(_count("new largest number of rows a call, after memory did not suffice", 1)),
    )


def _report() -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "What one generation did",
        **_object(
            schema=_text("which kind of file this is", enum=[REPORT_NAME]),
            version={"type": "integer", "enum": [REPORT_VERSION]},
            host=_text("who ran the sampler"),
            method=_text(
                "how", enum=["loratorio", "base", "merge", "merge-recentred", "switch", "composite"]
            ),
            switch_every=_count("evaluations after which Switch moves on", 1),
            settings={"type": "object", "description": "every setting by its name"},
            networks=_list(
                _object(
                    name=_text("name in the prompt's tag"),
                    strength={"type": "number", "description": "UNet strength"},
                    compose=_flag("false: kept merged in every row"),
                )
            ),
            composed=_list(_text("names of the composed networks, in the order of similarity and weight")),
            finished=_flag("false: the generation was cancelled or still runs"),
            totals=_object(
                steps=_count("evaluations of the model"),
                rows=_count("rows through the model"),
                calls=_count("model calls"),
                seconds={"type": "number", "minimum": 0},
                plain_rows=_count("rows that a plain generation would have evaluated in these steps"),
                ratio={"type": ["number", "null"], "description": "rows / plain_rows; null without steps"},
            ),
            warnings=_list(_text("what the user should know, in a sentence")),
            steps=_list(_step()),
        ),
    }


# JSON Schema of ``Report.to_dict()``; see https://json-schema.org/draft/2020-12/schema.
REPORT_SCHEMA: Final[Mapping[str, Any]] = MappingProxyType(_report())
