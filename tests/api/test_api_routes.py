"""The routes: what they answer."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

import loratorio_ext
from loratorio_ext.api import add_routes
from loratorio_ext.server.server import Server
from loratorio_ext.settings import SETTINGS

Refused = Callable[..., None]
MAPS = "reports/1/maps/0/0/0.png"


def test_version(client: TestClient) -> None:
    assert client.get("version").json() == {
        "version": loratorio_ext.__version__,
        "host": "a test",
        "host_version": "1.2",
    }
    assert client.get("version").headers["cache-control"] == "no-store"


def test_schema_and_presets(client: TestClient) -> None:
    schema = client.get("settings/schema").json()
    assert list(schema["properties"]) == [one.name for one in SETTINGS]
    presets = client.get("presets").json()["presets"]
    assert [one["name"] for one in presets if not one["built_in"]] == ["my own"]
    assert presets[0]["name"] == "Balanced" and presets[0]["built_in"]
    assert presets[-1]["settings"]["top_k"] == 2 and "enabled" not in presets[-1]["settings"]


def test_networks(client: TestClient) -> None:
    answer = client.get("networks", params={"pool": "characters/*, nobody, night"}).json()
    assert (answer["total"], answer["in_pool"], answer["unknown"]) == (5, 4, ["nobody"])
    assert {one["name"]: one["in_pool"] for one in answer["networks"]} == {
        "Bert the Great": True,
        "anna": True,
        "bert": True,
        "night": True,
        "ünïcode ✓": False,
    }
    assert {one["path"] for one in answer["networks"]} >= {"characters/anna", "styles/ünïcode ✓"}
    assert client.get("networks").json()["in_pool"] == 0


def test_networks_in_pieces(client: TestClient) -> None:
    whole = client.get("networks").json()["networks"]
    pieces = [
        client.get("networks", params={"limit": 2, "offset": offset}).json()["networks"]
        for offset in (0, 2, 4, 6)
    ]
    assert [len(piece) for piece in pieces] == [2, 2, 1, 0]
    assert [one for piece in pieces for one in piece] == whole


@pytest.mark.parametrize(
    "pool", ["../../*", "/etc/passwd", "..\\..\\windows\\*", "%2e%2e/", "[", "[!", "*" * 2000, "a,b" * 600]
)
def test_no_pool_reaches_beyond_the_list(client: TestClient, pool: str) -> None:
    answer = client.get("networks", params={"pool": pool})
    assert answer.status_code == 200
    assert {one["path"].split("/")[0] for one in answer.json()["networks"]} == {"characters", "styles"}


def test_estimate(client: TestClient) -> None:
    body = {"prompt": "<lora:anna:1> <lora:night:1> <lora:nobody:1> <lora:bert:1:compose=off>", "steps": 3}
    answer = client.post("estimate", json=body).json()
    assert (answer["composed"], answer["kept"]) == (["anna", "night"], ["bert"])
    assert answer["plain_rows"] == 2 and len(answer["rows"]) == 3 and answer["ratio"] > 1
    assert "nobody" in answer["notes"][0] and "2 networks composed" in answer["sentence"]
    assert answer["obstacle"] is None
    off = client.post("estimate", json={**body, "settings": {"enabled": False}}).json()
    assert off["rows"] == [2, 2, 2]
    several = client.post("estimate", json={**body, "batch_size": 4}).json()
    assert several["rows"] == answer["rows"]


@pytest.mark.parametrize(
    ("given", "plain"),
    [({}, 2), ({"guided": False}, 1), ({"guided": True}, 2), ({"cfg_scale": 1}, 1), ({"cfg_scale": 1.5}, 2)],
)
def test_estimate_with_and_without_guidance(client: TestClient, given: dict[str, Any], plain: int) -> None:
    body = {"prompt": "<lora:anna:1>", **given}
    assert client.post("estimate", json=body).json()["plain_rows"] == plain


def test_estimate_says_what_stands_in_the_way(server: Server, client_of: Callable[..., TestClient]) -> None:
    client = client_of(dataclasses.replace(server, obstacle=lambda: "no such model"))
    answer = client.post("estimate", json={"prompt": ""}).json()
    assert answer["obstacle"] == "no such model"
    assert answer["sentence"] == "no such model, so the networks will act merged, the usual way"


def test_reports(client: TestClient) -> None:
    answer = client.get("reports").json()
    assert answer["total"] == 2 and [one["number"] for one in answer["reports"]] == [2, 1]
    cancelled, whole = answer["reports"]
    assert (whole["pictures"], whole["passes"], whole["networks"]) == (2, 2, ["anna", "night"])
    assert whole["finished"] and not cancelled["finished"] and whole["ratio"] == 2.0
    assert len(cancelled["prompt"]) == 200 and cancelled["prompt"].startswith("half a letter \ud800x")
    assert client.get("reports", params={"limit": 1}).json()["reports"] == [cancelled]


def test_one_report(client: TestClient, server: Server) -> None:
    record = server.history.record(1)
    assert record is not None
    assert client.get("reports/1").json() == json.loads(json.dumps(record.to_dict()))


def test_a_picture(client: TestClient, picture_of: Callable[[Any], Image.Image]) -> None:
    picture = picture_of(client.get("reports/1/pictures/1.png"))
    assert picture.size == (80, 40) and picture.getpixel((5, 5)) == (200, 30, 30)


def test_a_map(client: TestClient, picture_of: Callable[[Any], Image.Image]) -> None:
    first = picture_of(client.get(MAPS, params={"size": 64}))
    other = picture_of(client.get("reports/1/maps/0/1/1.png", params={"size": 64}))
    assert first.size == (64, 32)
    left, right = sum(first.getpixel((5, 5))), sum(first.getpixel((60, 5)))  # type: ignore[arg-type]
    assert left > right + 200  # light where it spoke
    assert sum(other.getpixel((5, 5))) < sum(other.getpixel((60, 5)))  # type: ignore[arg-type]
    last = client.get(MAPS)
    assert client.get(MAPS, params={"step": 2}).content == last.content
    assert picture_of(last).size == (512, 256)
    assert picture_of(client.get(MAPS, params={"step": 0, "size": 16})).size == (16, 8)


def test_territories(client: TestClient, picture_of: Callable[[Any], Image.Image]) -> None:
    path = "reports/1/territories/0/0.png"
    picture = picture_of(client.get(path, params={"size": 64}))
    assert picture.size == (64, 32)
    red, _, blue = picture.getpixel((5, 5))  # type: ignore[misc]
    assert blue > red  # the first network's color
    red, _, blue = picture.getpixel((60, 5))  # type: ignore[misc]
    assert red > blue
    assert client.get(path, params={"step": 0}).content != client.get(path, params={"step": 2}).content
    # Over the picture of its own place.
    assert client.get("reports/1/territories/0/1.png").content != client.get(path).content
    # A cancelled run has maps and no picture.
    assert picture_of(client.get("reports/2/territories/0/0.png")).size == (512, 256)


def test_other_methods(client: TestClient) -> None:
    assert client.post("version").status_code == 405
    assert client.get("estimate").status_code == 405
    assert client.delete("reports/1").status_code == 405


def test_a_folder_that_cannot_be_read(
    refused: Refused, server: Server, client_of: Callable[..., TestClient]
) -> None:
    def networks() -> dict[str, str]:
        raise PermissionError(13, "Permission denied", "/secret/folder")

    answer = client_of(dataclasses.replace(server, networks=networks)).get("networks")
    refused(answer, 503, "cannot be read")
    assert "secret" not in answer.text


def test_adding_twice_leaves_the_newer(server: Server) -> None:
    app = FastAPI()
    add_routes(app, server, credentials=None)
    before = len(app.router.routes)
    assert "/loratorio/v1/version" in app.openapi()["paths"]
    add_routes(app, dataclasses.replace(server, host="newer"), credentials=None)
    assert len(app.router.routes) == before
    assert TestClient(app).get("/loratorio/v1/version").json()["host"] == "newer"


def test_every_route_is_described(server: Server) -> None:
    app = FastAPI()
    add_routes(app, server, credentials={"a": "b"})
    described = app.openapi()
    assert len(described["paths"]) == 10
    assert described["components"]["securitySchemes"] == {"HTTPBasic": {"type": "http", "scheme": "basic"}}
    for path, methods in described["paths"].items():
        for operation in methods.values():
            assert operation["summary"] and operation["security"] == [{"HTTPBasic": []}]
            assert {"200", "401", "422"} <= set(operation["responses"])
            described_names = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
            assert described_names == {part.split("}")[0] for part in path.split("{")[1:]}
    json.dumps(described)
