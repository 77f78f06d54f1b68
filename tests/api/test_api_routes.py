"""The routes: what they answer, and what they refuse."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import loratorio_ext
from loratorio_ext.api import add_routes
from loratorio_ext.api.body import LARGEST_BODY
from loratorio_ext.api.credentials import may_ask
from loratorio_ext.api.route import to_json
from loratorio_ext.server.server import Server
from loratorio_ext.settings import SETTINGS

MAPS = "reports/1/maps/0/0/0.png"


def refused(answer: Any, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["detail"]
    detail = answer.json()["detail"]
    assert isinstance(detail, str) and len(detail) < 600
    assert [word for word in words if word not in detail] == []


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


def test_estimate_says_what_stands_in_the_way(server: Server) -> None:
    app = FastAPI()
    add_routes(app, dataclasses.replace(server, obstacle=lambda: "no such model"), credentials=None)
    answer = TestClient(app).post("/loratorio/v1/estimate", json={"prompt": ""})
    assert answer.json()["obstacle"] == "no such model"


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
    assert blue > red  # the first network's colour
    red, _, blue = picture.getpixel((60, 5))  # type: ignore[misc]
    assert red > blue
    assert client.get(path, params={"step": 0}).content != client.get(path, params={"step": 2}).content
    # A cancelled run has maps and no picture.
    assert picture_of(client.get("reports/2/territories/0/0.png")).size == (512, 256)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("reports/3", ("run 3", "2, 1")),
        ("reports/999999999", ("run 999999999",)),
        ("reports/1/pictures/2.png", ("picture 2", "from 0 to 1")),
        ("reports/2/pictures/0.png", ("picture 0", "there is none")),
        ("reports/1/maps/2/0/0.png", ("pass 2", "from 0 to 1")),
        ("reports/1/maps/0/2/0.png", ("image 2", "2 images")),
        ("reports/1/maps/1/0/0.png", ("image 0", "nothing was composed")),
        ("reports/1/maps/0/0/2.png", ("network 2", "from 0 to 1")),
        ("reports/2/maps/0/0/0.png?step=0", ("step 0", "those with one are 1")),
        ("reports/1/territories/9/0.png", ("pass 9",)),
    ],
)
def test_what_is_not_there(client: TestClient, path: str, words: tuple[str, ...]) -> None:
    refused(client.get(path), 404, *words)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("reports/0", ("number is '0'", "from 1 to")),
        ("reports/-1", ("number is '-1'",)),
        ("reports/one", ("number is 'one'",)),
        ("reports/" + "9" * 5000, ("number is",)),
        ("reports/%00", ("number is",)),
        ("reports/1/pictures/..%5c..%5cx.png", ("index is",)),
        ("reports?limit=0", ("limit is '0'", "from 1 to 100")),
        ("reports?limit=nan", ("limit is 'nan'",)),
        ("reports?limit=1&limit=2", ("limit is there twice",)),
        ("reports?limt=1", ("'limt' is not a parameter here", "limit")),
        ("version?x=1", ("takes none",)),
        ("networks?limit=1001", ("limit is '1001'", "from 1 to 1000")),
        ("networks?offset=-1", ("offset is",)),
        ("networks?pool=" + "a" * 2001, ("pool is", "2000 characters")),
        ("networks?pool=%0a%00", ("pool is",)),
        ("networks?pool=a%0ab", ("pool is",)),
        (MAPS + "?size=15", ("size is '15'", "from 16 to 1024")),
        (MAPS + "?size=1025", ("size is '1025'",)),
        (MAPS + "?step=-1", ("step is '-1'",)),
        (MAPS + "?step=1e3", ("step is '1e3'",)),
    ],
)
def test_wrong_parameters(client: TestClient, path: str, words: tuple[str, ...]) -> None:
    refused(client.get(path), 422, *words)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", ("not JSON",)),
        (b"prompt=x", ("not JSON",)),
        (b"\xff\xfe\xff", ("not JSON",)),
        (b'{"prompt": "\xc3\x28"}', ("not JSON",)),
        (b"[" * 500_000, ("nested too deeply",)),
        (b'{"a":' * 100_000, ("nested too deeply",)),
        (b"null", ("the body is None", "give an object")),
        (b"[]", ("give an object",)),
        (b"{}", ("prompt is None", "give a text")),
        (b'{"prompt": 1}', ("prompt is 1",)),
        (b'{"prompt": "", "prompt": ""}', ("twice",)),
        (b'{"prompt": "", "promt": ""}', ("'promt' is not known", "prompt, settings")),
        (b'{"prompt": "", "\\ud800": ""}', ("is not known",)),
        (b'{"prompt": "", "steps": 0}', ("steps is 0.0", "from 1 to 1000", "default 20")),
        (b'{"prompt": "", "steps": NaN}', ("steps is nan",)),
        (b'{"prompt": "", "steps": 1e999}', ("steps is inf",)),
        (b'{"prompt": "", "steps": ' + b"9" * 10_000 + b"}", ("steps is inf",)),
        (b'{"prompt": "", "steps": true}', ("steps is True",)),
        (b'{"prompt": "", "batch_size": 101}', ("batch_size is 101.0", "from 1 to 100")),
        (b'{"prompt": "", "guided": 1}', ("guided is 1.0", "true or false")),
        (b'{"prompt": "", "guided": true, "cfg_scale": 2}', ("both guided and cfg_scale",)),
        (b'{"prompt": "", "settings": []}', ("settings are []",)),
        (b'{"prompt": "", "settings": {"patchsize": 2}}', ("did you mean 'patch_size'",)),
        (b'{"prompt": "", "settings": {"patch_size": 65}}', ("patch_size is 65.0", "from 1 to 64")),
        (b'{"prompt": "", "settings": {"start": 0.9, "end": 0.1}}', ("start is 0.9 and end is 0.1",)),
        (b'{"prompt": "", "settings": {"pool": "\\ud800"}}', ("pool is",)),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_wrong_bodies(client: TestClient, body: bytes, words: tuple[str, ...]) -> None:
    headers = {"content-type": "application/json"}
    refused(client.post("estimate", content=body, headers=headers), 422, *words)


@pytest.mark.parametrize("kind", ["application/json", "text/plain", "multipart/form-data", "x/\xe4", ""])
def test_json_is_taken_whatever_it_is_called(client: TestClient, kind: str) -> None:
    answer = client.post(
        "estimate", content=b'{"prompt": ""}', headers={"content-type": kind.encode("latin-1")}
    )
    assert answer.status_code == 200


def pieces(size: int) -> Iterator[bytes]:
    yield b'{"prompt": "'
    for _ in range(size // 1024):
        yield b"x" * 1024
    yield b'"}'


def test_a_large_body(client: TestClient) -> None:
    just = b'{"prompt": "' + b"x" * (LARGEST_BODY - 14) + b'"}'
    assert len(just) == LARGEST_BODY
    answer = client.post("estimate", content=just)
    assert answer.status_code == 200 and "100000 characters" in answer.json()["notes"][0]
    refused(client.post("estimate", content=just + b" "), 413, str(LARGEST_BODY))
    # Sent in pieces, its length is not said before.
    assert client.post("estimate", content=pieces(LARGEST_BODY // 2)).status_code == 200
    refused(client.post("estimate", content=pieces(2 * LARGEST_BODY)), 413)


@pytest.mark.parametrize("announced", ["9" * 5000, "-1", "x", "²"])
def test_a_wrong_length_is_announced(client: TestClient, announced: str) -> None:
    headers = {"content-length": announced.encode("latin-1")}
    answer = client.post("estimate", content=b'{"prompt": ""}', headers=headers)
    assert answer.status_code in (200, 413)


def test_other_methods(client: TestClient) -> None:
    assert client.post("version").status_code == 405
    assert client.get("estimate").status_code == 405
    assert client.delete("reports/1").status_code == 405


def test_a_folder_that_cannot_be_read(server: Server) -> None:
    def networks() -> dict[str, str]:
        raise PermissionError(13, "Permission denied", "/secret/folder")

    app = FastAPI()
    add_routes(app, dataclasses.replace(server, networks=networks), credentials=None)
    answer = TestClient(app).get("/loratorio/v1/networks")
    refused(answer, 503, "cannot be read")
    assert "secret" not in answer.text


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def with_password(server: Server) -> TestClient:
    app = FastAPI()
    add_routes(app, server, credentials={"me": "s:cret", "yöu": "✓"})
    return TestClient(app, base_url="http://testserver/loratorio/v1/")


@pytest.mark.parametrize(
    "path", ["version", "reports/77", "reports?limit=0", MAPS, "reports/1/pictures/0.png"]
)
def test_who_may_ask(server: Server, path: str) -> None:
    client = with_password(server)
    for header in (
        None,
        "",
        "Basic",
        "Basic !!!",
        "Bearer x",
        basic("me", "wrong"),
        basic("", ""),
        "Basic YQ==",
    ):
        answer = client.get(path, headers={} if header is None else {"authorization": header})
        refused(answer, 401, "Incorrect")
        assert answer.headers["www-authenticate"] == "Basic"
    for user, password in (("me", "s:cret"), ("yöu", "✓")):
        answer = client.get(path, headers={"authorization": basic(user, password)})
        assert answer.status_code == {"reports/77": 404, "reports?limit=0": 422}.get(path, 200)


def test_no_body_is_read_of_strangers(server: Server) -> None:
    refused(with_password(server).post("estimate", content=b"x" * 2 * LARGEST_BODY), 401)


@settings(max_examples=100, deadline=None)
@given(header=st.none() | st.text() | st.binary().map(lambda b: "Basic " + base64.b64encode(b).decode()))
def test_no_header_opens_the_door(header: str | None) -> None:
    assert not may_ask({"me": "a password that nobody guesses"}, header)
    assert not may_ask({}, header)
    assert may_ask(None, header)


PLAIN: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["prompt", "settings", "steps", "guided", "cfg_scale", "batch_size", "x"])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=PLAIN | st.dictionaries(NAMES, PLAIN))
def test_no_body_breaks_the_estimate(client: TestClient, body: Any) -> None:
    answer = client.post("estimate", content=json.dumps(body).encode())
    assert answer.status_code in (200, 422)
    assert answer.status_code == 200 or isinstance(answer.json()["detail"], str)


@settings(max_examples=100, deadline=None)
@given(value=PLAIN)
def test_every_answer_is_json(value: Any) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(to_json(value), parse_constant=refuse)


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
