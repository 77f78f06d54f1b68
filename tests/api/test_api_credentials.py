"""Who may ask."""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings, strategies as st

from loratorio_ext.api.exchange import LARGEST_BODY, may_ask
from loratorio_ext.server.server import Server

Refused = Callable[..., None]
MAPS = "reports/1/maps/0/0/0.png"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def guarded(server: Server, client_of: Callable[..., TestClient]) -> TestClient:
    return client_of(server, {"me": "s:cret", "yöu": "✓"})


@pytest.mark.parametrize(
    "path", ["version", "reports/77", "reports?limit=0", MAPS, "reports/1/pictures/0.png"]
)
def test_who_may_ask(refused: Refused, guarded: TestClient, path: str) -> None:
    wrong = (None, "", "Basic", "Basic !!!", "Bearer x", "Basic YQ==", basic("me", "wrong"), basic("", ""))
    for header in wrong:
        answer = guarded.get(path, headers={} if header is None else {"authorization": header})
        refused(answer, 401, "Incorrect")
        assert answer.headers["www-authenticate"] == "Basic"
    for user, password in (("me", "s:cret"), ("yöu", "✓")):
        answer = guarded.get(path, headers={"authorization": basic(user, password)})
        assert answer.status_code == {"reports/77": 404, "reports?limit=0": 422}.get(path, 200)


def test_no_body_is_read_of_strangers(refused: Refused, guarded: TestClient) -> None:
    refused(guarded.post("estimate", content=b"x" * 2 * LARGEST_BODY), 401)


@settings(max_examples=100, deadline=None)
@given(header=st.none() | st.text() | st.binary().map(lambda b: "Basic " + base64.b64encode(b).decode()))
def test_no_header_opens_the_door(header: str | None) -> None:
    assert not may_ask({"me": "a password that nobody guesses"}, header)
    assert not may_ask({}, header)


def test_an_empty_password_must_be_said() -> None:
    assert may_ask({"a": ""}, basic("a", ""))
    assert not may_ask({"a": ""}, "Basic " + base64.b64encode(b"a").decode())
