"""All routes in one table, the schemas of their answers, and how they come into the WebUI's app."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from fastapi import Depends, FastAPI

from loratorio_ext.api.answers import Answers, body_of_estimate
from loratorio_ext.api.exchange import JSON, Basic, Json, Png, Route, guard, refuse_unknown_parameters
from loratorio_ext.run import REPORT_SCHEMA
from loratorio_ext.server.presets import PRESET_SETTINGS
from loratorio_ext.server.server import Server

Schema = dict[str, Any]

PREFIX: Final = "/loratorio/v1"
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


def add_routes(app: FastAPI, server: Server, *, credentials: Mapping[str, str] | None) -> None:
    """Add the routes under ``/loratorio/v1``; routes of an earlier call make room.

    Args:
        app: of the WebUI; it may run already.
        server: what the routes show.
        credentials: user → password of those who may ask; None: everybody.
    """
    app.router.routes[:] = [
        one for one in app.router.routes if not str(getattr(one, "path", "")).startswith(f"{PREFIX}/")
    ]
    answers, schemas = Answers(server), _schemas_of_answers()
    guards = [Depends(refuse_unknown_parameters)]
    if credentials is not None:
        guards = [Depends(Basic(scheme_name="HTTPBasic")), Depends(guard(credentials)), *guards]
    endpoints: Mapping[str, Callable[..., Any]] = {
        "/version": answers.version,
        "/settings/schema": answers.schema,
        "/networks": answers.networks,
        "/presets": answers.presets,
        "/estimate": answers.estimate,
        "/reports": answers.reports,
        "/reports/{number}": answers.report,
        "/reports/{number}/pictures/{index}.png": answers.picture,
        "/reports/{number}/maps/{pass}/{image}/{network}.png": answers.map_of_network,
        "/reports/{number}/territories/{pass}/{image}.png": answers.map_of_all,
    }
    for path, endpoint in endpoints.items():
        kind = Json if path in schemas else Png
        body = body_of_estimate() if path == "/estimate" else None
        content = {kind.media_type: {"schema": schemas.get(path, {"type": "string", "format": "binary"})}}
        parts = [part.split(".")[0].strip("{}") for part in path.strip("/").split("/")]
        app.router.add_api_route(
            PREFIX + path,
            endpoint,
            methods=["GET" if body is None else "POST"],
            name="_".join(["loratorio", *parts]),
            summary=(endpoint.__doc__ or "").partition(".")[0],
            tags=["LoRAtorio"],
            response_class=kind,
            response_model=None,
            responses={
                200: {"description": "The answer", "content": content},
                **({401: _problem("User or password is wrong")} if credentials is not None else {}),
                **({404: _problem("It is not there, or no longer kept")} if "{" in path else {}),
                **({413: _problem("The body is too large")} if body else {}),
                422: _problem("A parameter or a value of the body is wrong"),
                503: _problem("A file or folder of the server cannot be read"),
            },
            openapi_extra=body and {"requestBody": {"required": True, "content": {JSON: {"schema": body}}}},
            dependencies=guards,
            route_class_override=Route,
        )
    app.openapi_schema = None  # a description made before lacks these


def _schemas_of_answers() -> dict[str, Schema]:
    """Path of a route → schema of its answer, for the routes that answer with JSON."""
    of_a_run: Mapping[str, tuple[str, str]] = {
        "number": ("count", "counts the server's runs, from 1"),
        "time": ("text", "when it was kept, UTC, ISO 8601"),
    }
    in_short = _named(
        **of_a_run,
        prompt=("text", "its beginning"),
        pictures=("count", "how many"),
        passes=("count", "how many"),
        networks=_listed(("text", "a network that was composed")),
        finished=("flag", "false: cancelled"),
        ratio=("number or null", "predictions, in multiples of plain generation"),
        warnings=("count", "how many"),
    )
    preset = _named(
        name=("text", "the preset's name"),
        built_in=("flag", "false: a user's own"),
        settings=_named(**{one.name: one.to_schema() for one in PRESET_SETTINGS}),
    )
    report = {key: value for key, value in REPORT_SCHEMA.items() if key != "$schema"}
    batch = ("count", "number of its batch")
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
            networks=_listed(
                _named(
                    name=("text", "name or alias, as in a tag"),
                    path=("text", "path below the folder of networks, without suffix"),
                    in_pool=("flag", "whether the pool means it"),
                    trigger_words=_listed(("text", "a trigger word, or else a frequent tag of its training")),
                )
            ),
            in_pool=("count", "how many of all names the pool means"),
            unknown=_listed(("text", "a part of the pool that means no network")),
        ),
        "/presets": _named(presets=_listed(preset)),
        "/estimate": _named(
            composed=_listed(("text", "a network that is composed")),
            kept=_listed(("text", "a network that is kept merged")),
            of_pool=("count", "how many of the composed ones the pool brings"),
            rows=_listed(("count", "predictions at this step for each picture")),
            plain_rows=("count", "predictions of a plain generation at a step"),
            ratio=("number", "predictions in all, in multiples of plain generation"),
            notes=_listed(("text", "what will not be as the user may expect")),
            sentence=("text", "the cost in one sentence"),
            obstacle=("text or null", "why nothing, or not everything, can be composed with this model"),
        ),
        "/reports": _named(total=("count", "how many are kept"), reports=_listed(in_short)),
        "/reports/{number}": _named(
            **of_a_run,
            prompt=("text", "the first prompt"),
            infotext=("text", "the first picture's infotext"),
            comments=_listed(("text", "what was said under the picture")),
            pictures=_listed(
                _named(
                    batch=batch,
                    place=("count", "place in its batch"),
                    seed=("integer or null", "its seed"),
                )
            ),
            passes=_listed(_named(batch=batch, hires=("flag", "a hires pass"), report=report)),
        ),
    }


def _problem(description: str) -> Schema:
    """OpenAPI's description of a refusal."""
    content = {JSON: {"schema": _named(detail=("text", "what was wrong, and what to give"))}}
    return {"description": description, "content": content}


def _named(**properties: Schema | tuple[str, str]) -> Schema:
    """An object with exactly these properties."""
    return {
        "type": "object",
        "properties": {name: _schema(one) for name, one in properties.items()},
        "required": list(properties),
        "additionalProperties": False,
    }


def _listed(item: Schema | tuple[str, str]) -> Schema:
    return {"type": "array", "items": _schema(item)}


def _schema(one: Schema | tuple[str, str]) -> Schema:
    """(kind, description) stands for the schema of one value."""
    return {**_KINDS[one[0]], "description": one[1]} if isinstance(one, tuple) else one
