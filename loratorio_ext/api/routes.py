"""All routes in one table, and how they come into the WebUI's app."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import Depends, FastAPI, Response

from loratorio_ext.api import after, before, schemas
from loratorio_ext.api.credentials import DocumentedBasic
from loratorio_ext.api.parameters import Parameter, in_path, number
from loratorio_ext.api.route import PNG, Route
from loratorio_ext.server.server import Server
from loratorio_ext.setting import Setting
from loratorio_ext.settings import SETTINGS

PREFIX: Final = "/loratorio/v1"

_RUN: Final = in_path("number", "Number of the run, as in the list of reports.", lowest=1)
_PASS: Final = in_path("pass", "Place of the pass in the run, from 0.")
_IMAGE: Final = in_path("image", "Place of the picture in its batch, from 0.")
_NETWORK: Final = in_path("network", "Place of the network in the report's list composed, from 0.")
_PICTURE: Final = in_path("index", "Place of the picture in the run, from 0.")
_STEP: Final = Parameter(
    number("step", "Index of the evaluation. Without it: the last one with a map.", 0, 10**9, 0),
    has_default=False,
)
_SIZE: Final = Parameter(number("size", "The map's longest side in pixels.", 16, 1024, 512))


class PngResponse(Response):
    """Says in the API's description what kind of answer it is."""

    media_type = PNG


def all_routes() -> tuple[Route, ...]:
    """Every route, in the order in which they are described."""
    pool = next(one for one in SETTINGS if one.name == "pool")
    return (
        Route("/version", "The versions of LoRAtorio and its host", before.version, schema=schemas.version()),
        Route(
            "/settings/schema",
            "The settings as a JSON Schema",
            before.schema,
            schema={"type": "object", "description": "A JSON Schema, draft 2020-12."},
        ),
        Route(
            "/networks",
            "The networks, and which of them a pool means",
            before.networks,
            (
                Parameter(_renamed(pool, "Names or patterns parted by commas, as in the setting.")),
                Parameter(number("limit", "How many names at most.", 1, 1000, 100)),
                Parameter(number("offset", "How many names to leave out in front.", 0, 10**6, 0)),
            ),
            schema=schemas.networks(),
        ),
        Route("/presets", "Settings under names", before.presets, schema=schemas.presets()),
        Route(
            "/estimate",
            "What a prompt will cost, and what will not work",
            before.cost,
            schema=schemas.estimate(),
            body=before.body_of_cost(),
        ),
        Route(
            "/reports",
            "The last runs in short, the newest first",
            after.reports,
            (Parameter(number("limit", "How many runs at most.", 1, 100, 20)),),
            schema=schemas.reports(),
        ),
        Route("/reports/{number}", "One run", after.report, (_RUN,), schemas.record(), may_lack=True),
        Route(
            "/reports/{number}/pictures/{index}.png",
            "A picture of a run, made smaller",
            after.picture,
            (_RUN, _PICTURE),
            may_lack=True,
        ),
        Route(
            "/reports/{number}/maps/{pass}/{image}/{network}.png",
            "Where one network spoke: dark for the lowest weight of all networks at this step, light for "
            "the highest",
            after.map_of_network,
            (_RUN, _PASS, _IMAGE, _NETWORK, _STEP, _SIZE),
            may_lack=True,
        ),
        Route(
            "/reports/{number}/territories/{pass}/{image}.png",
            "Which network spoke loudest where, over the picture",
            after.map_of_all,
            (_RUN, _PASS, _IMAGE, _STEP, _SIZE),
            may_lack=True,
        ),
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
    for route in all_routes():
        options: dict[str, Any] = {} if route.schema is not None else {"response_class": PngResponse}
        app.add_api_route(
            PREFIX + route.path,
            route.endpoint(server, credentials),
            methods=[route.method],
            name=_name(route.path),
            summary=route.summary,
            tags=["LoRAtorio"],
            response_model=None,
            responses=route.responses(credentials is not None),
            openapi_extra=route.openapi_extra(),
            dependencies=[] if credentials is None else [Depends(DocumentedBasic())],
            **options,
        )
    app.openapi_schema = None  # a description made before lacks these


def _renamed(setting: Setting, explanation: str) -> Setting:
    return Setting(setting.name, setting.default, setting.name, explanation, "", maximum=setting.maximum)


def _name(path: str) -> str:
    kept = [part.split(".")[0].strip("{}") for part in path.strip("/").split("/")]
    return "loratorio_" + "_".join(kept)
