"""What the routes refuse, and how."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings, strategies as st

from loratorio_ext.api.exchange import LARGEST_BODY, Json

Refused = Callable[..., None]
MAPS = "reports/1/maps/0/0/0.png"


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
def test_what_is_not_there(refused: Refused, client: TestClient, path: str, words: tuple[str, ...]) -> None:
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
        ("reports?limit=1&limit=2", ("limit is given twice",)),
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
def test_wrong_parameters(refused: Refused, client: TestClient, path: str, words: tuple[str, ...]) -> None:
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
def test_wrong_bodies(refused: Refused, client: TestClient, body: bytes, words: tuple[str, ...]) -> None:
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


def test_a_large_body(refused: Refused, client: TestClient) -> None:
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

    json.loads(Json(value).body, parse_constant=refuse)
