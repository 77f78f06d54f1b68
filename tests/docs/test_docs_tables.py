"""Tables of the docs that list what the code has: arguments of tags, routes of the API."""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType

from fastapi import FastAPI

from loratorio_ext.api import add_routes
from loratorio_ext.networks.arguments import OWN
from loratorio_ext.server.history import History
from loratorio_ext.server.options import Options
from loratorio_ext.server.presets import Presets
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words

DOCS = Path(__file__).parents[2] / "docs"


def test_every_argument_of_a_tag_has_a_row() -> None:
    rows = re.findall(r"(?m)^\| `(\w+)=", (DOCS / "tags.md").read_text("utf-8"))
    assert sorted(rows) == sorted([*OWN, "lbw"])  # block weights: read by the diffusers host alone


def test_every_route_has_a_row() -> None:
    options, words = Options(), Words()
    server = Server(
        host="a test",
        version="1",
        history=History(lambda: options.limits_of_history),
        presets=Presets(None),
        networks=lambda: MappingProxyType({}),
        refresh=lambda: None,
        options=lambda: options,
        words=lambda: words,
        obstacle=lambda: None,
        merged_on_top=False,
    )
    app = FastAPI(openapi_url=None)
    add_routes(app, server, credentials=None)
    routes = {
        f"{method} {route.path.removeprefix('/loratorio/v1')}"
        for route in app.routes
        for method in getattr(route, "methods", ())
    }
    rows = re.findall(r"(?m)^\| `((?:GET|POST) [^`]+)`", (DOCS / "api.md").read_text("utf-8"))
    assert sorted(rows) == sorted(routes)
