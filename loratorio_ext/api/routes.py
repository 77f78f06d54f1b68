"""All routes in one table, and how they come into the WebUI's app."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from fastapi import Depends, FastAPI

from loratorio_ext.api.after import After
from loratorio_ext.api.before import Before, body_of_estimate
from loratorio_ext.api.exchange import JSON, Basic, Json, Png, Route, refuse_unknown_parameters
from loratorio_ext.api.schemas import answers, problem
from loratorio_ext.server.server import Server

PREFIX: Final = "/loratorio/v1"


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
    before, after, schemas = Before(server), After(server.history), answers()
    guards = [Depends(refuse_unknown_parameters)]
    if credentials is not None:
        guards = [Depends(Basic(credentials)), *guards]
    endpoints: Mapping[str, Callable[..., Any]] = {
        "/version": before.version,
        "/settings/schema": before.schema,
        "/networks": before.networks,
        "/presets": before.presets,
        "/estimate": before.estimate,
        "/reports": after.reports,
        "/reports/{number}": after.report,
        "/reports/{number}/pictures/{index}.png": after.picture,
        "/reports/{number}/maps/{pass}/{image}/{network}.png": after.map_of_network,
        "/reports/{number}/territories/{pass}/{image}.png": after.map_of_all,
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
                **({401: problem("User or password is wrong")} if credentials is not None else {}),
                **({404: problem("It is not there, or no longer kept")} if "{" in path else {}),
                **({413: problem("The body is too large")} if body else {}),
                422: problem("A parameter or a value of the body is wrong"),
                503: problem("A file or folder of the server cannot be read"),
            },
            openapi_extra=body and {"requestBody": {"required": True, "content": {JSON: {"schema": body}}}},
            dependencies=guards,
            route_class_override=Route,
        )
    app.openapi_schema = None  # a description made before lacks these
