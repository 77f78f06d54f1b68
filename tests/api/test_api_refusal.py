"""Wrong arguments for the script are refused by the WebUI's own routes, before anything runs."""

from __future__ import annotations

import base64
import json
from secrets import compare_digest
from typing import Any, Optional

import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi.routing import APIRoute
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings, strategies as st
from pydantic import create_model

from loratorio_ext.api import refuse_wrong_arguments
from loratorio_ext.api.refusal import ROUTES, problem_of_request
from loratorio_ext.settings import SETTINGS

Txt2Img: Any = create_model(
    "Txt2Img",
    prompt=(Optional[str], ""),  # noqa: UP045 - what older pydantic reads
    steps=(Optional[int], 50),  # noqa: UP045
    init_images=(Optional[list], None),  # noqa: UP045
    alwayson_scripts=(Optional[dict], {}),  # noqa: UP045
    infotext=(Optional[str], None),  # noqa: UP045
)
Answer: Any = create_model("Answer", images=(list, ...), parameters=(dict, ...))


class Api:
    """Routes made as the WebUI makes them: methods of an object, with a password if it has one."""

    def __init__(self, password: str | None = None) -> None:
        self.app = FastAPI()
        self.password = password
        self.drawn: list[Any] = []
        self.add("/sdapi/v1/png-info", self.draw, methods=["POST"], response_model=Answer)
        self.add("/sdapi/v1/txt2img", self.draw, methods=["POST"], response_model=Answer)
        self.add("/sdapi/v1/img2img", self.draw, methods=["POST"], response_model=Answer)
        self.add("/sdapi/v1/memory", self.memory, methods=["GET"])

    def add(self, path: str, endpoint: Any, **options: Any) -> None:
        if self.password is not None:
            options["dependencies"] = [Depends(self.auth)]
        self.app.add_api_route(path, endpoint, **options)

    def auth(self, credentials: HTTPBasicCredentials = Depends(HTTPBasic())) -> bool:
        if compare_digest(credentials.password, str(self.password)):
            return True
        raise HTTPException(401, "Incorrect username or password", headers={"WWW-Authenticate": "Basic"})

    def draw(self, request: Txt2Img) -> Any:
        self.drawn.append(request)
        return Answer(images=["x"], parameters={"prompt": request.prompt})

    def memory(self) -> Any:
        return {"ram": 1}


@pytest.fixture
def api() -> Api:
    api = Api()
    refuse_wrong_arguments(api.app)
    return api


def script(value: Any, name: str = "LoRAtorio") -> dict[str, Any]:
    return {"prompt": "a", "alwayson_scripts": {name: value}}


DEFAULTS = [one.default for one in SETTINGS]
RIGHT: list[dict[str, Any]] = [
    {},
    {"prompt": "a"},
    {"infotext": "a\nSteps: 2, LoRAtorio enabled: True, LoRAtorio patch size: 999"},
    {"alwayson_scripts": {}},
    {"alwayson_scripts": {"ControlNet": {"args": "as it likes"}}},
    script({}),
    script({"args": []}),
    script({"args": [{}]}),
    script({"args": [{"patch_size": 2, "top_k": 3.0}]}),
    script({"args": [{"enabled": False}]}, "loratorio"),
    script({"args": [True, 4]}),
    script({"args": DEFAULTS}),
]
WRONG: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    (script({"args": [{"patch_size": 65}]}), ("patch_size is 65", "from 1 to 64", "default 2")),
    (script({"args": [{"patch_size": "2"}]}), ("patch_size is '2'", "from 1 to 64")),
    (script({"args": [{"patchsize": 2}]}), ("'patchsize' is not a setting", "did you mean 'patch_size'")),
    (script({"args": [{"start": 0.9, "end": 0.2}]}), ("start is 0.9 and end is 0.2",)),
    (script({"args": [True, 0]}), ("patch_size is 0",)),
    (script({"args": ["yes"]}), ("enabled is 'yes'", "true or false")),
    (script({"args": [None]}), ("enabled is None",)),
    (script({"args": [[]]}), ("enabled is []",)),
    (script({"args": {"patch_size": 2}}), ("args is {'patch_size': 2}", "give a list")),
    (script({"args": "True"}), ("args is 'True'", "give a list")),
    (script({"args": None}), ("args is None", "give a list")),
    (script({"args": [{"top_k": 1}, {"oops": 1}]}), ("{'oops': 1} follows", "that object alone")),
    (script({"args": [{"patch_size": 4}, 9, "x"]}), ("9 follows",)),
    (script({"args": [{}, None]}), ("None follows",)),
    (script({"args": [*DEFAULTS, 1]}), (f"there are {len(SETTINGS) + 1} values", "give at most")),
    (script({"args": [True, {"top_k": 1}]}), ("patch_size is {'top_k': 1}",)),
    (script([{"patch_size": 2}]), ("it is [{'patch_size': 2}]", '{"args": [')),
    (script(None), ("it is None",)),
    (script({"arg": [{"patch_size": 2}]}), ("it has 'arg' and no args",)),
    (script({"args": [{"patch_size": 65}]}, "LORATORIO"), ("patch_size is 65",)),
    (
        {"alwayson_scripts": {"LoRAtorio": {"args": [{}]}, "loratorio": {"args": [{"gain": 7}]}}},
        ("gain is 7",),
    ),
]


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("body", RIGHT, ids=lambda body: json.dumps(body)[:50])
def test_right_requests_are_drawn(api: Api, path: str, body: dict[str, Any]) -> None:
    answer = TestClient(api.app).post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"images": ["x"], "parameters": {"prompt": body.get("prompt", "")}}
    assert len(api.drawn) == 1
    assert api.drawn[0].alwayson_scripts == body.get("alwayson_scripts", {})


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize(("body", "words"), WRONG, ids=lambda value: json.dumps(value)[:50])
def test_wrong_arguments_are_refused(
    api: Api, path: str, body: dict[str, Any], words: tuple[str, ...]
) -> None:
    answer = TestClient(api.app).post(path, json=body)
    assert answer.status_code == 422 and api.drawn == []
    detail = answer.json()["detail"]
    assert detail.startswith("alwayson_scripts.LoRAtorio: ") and len(detail) < 400
    assert [word for word in words if word not in detail] == []


def test_only_the_routes_that_draw(api: Api) -> None:
    client = TestClient(api.app)
    wrong = script({"args": "x"})
    assert client.post("/sdapi/v1/png-info", json=wrong).status_code == 200
    assert client.get("/sdapi/v1/memory").json() == {"ram": 1}
    assert client.post("/nowhere", json=wrong).status_code == 404


def test_everything_else_stays_as_it_was() -> None:
    plain, api = Api("secret"), Api("secret")
    before = [route for route in api.app.router.routes if isinstance(route, APIRoute)]
    refuse_wrong_arguments(api.app)
    after = [route for route in api.app.router.routes if isinstance(route, APIRoute)]
    assert [route.path for route in after] == [route.path for route in before]
    for old, new in zip(before, after, strict=True):
        assert (new is old) == (new.path not in ROUTES)
        assert (new.endpoint, new.methods, new.name) == (old.endpoint, old.methods, old.name)
        assert new.response_model == old.response_model and new.dependencies[0] in old.dependencies
        assert len(new.dependencies) == len(old.dependencies) + (new.path in ROUTES)
    assert api.app.openapi() == plain.app.openapi()


def test_twice_is_as_once(api: Api) -> None:
    before = list(map(id, api.app.router.routes))  # routes are equal when their paths and functions are
    refuse_wrong_arguments(api.app)
    assert list(map(id, api.app.router.routes)) == before


def test_a_host_without_these_routes() -> None:
    app = FastAPI()
    before = list(app.router.routes)
    refuse_wrong_arguments(app)
    assert list(app.router.routes) == before


def test_after_the_app_has_started() -> None:
    api = Api()
    with TestClient(api.app) as client:
        wrong = script({"args": "x"})
        assert client.post(ROUTES[0], json=wrong).status_code == 200
        refuse_wrong_arguments(api.app)
        assert client.post(ROUTES[0], json=wrong).status_code == 422


def test_strangers_learn_nothing() -> None:
    api = Api("secret")
    refuse_wrong_arguments(api.app)
    client = TestClient(api.app)
    wrong = script({"args": "x"})
    assert client.post(ROUTES[0], json=wrong).status_code == 401
    assert client.post(ROUTES[0], json=wrong, auth=("me", "guess")).status_code == 401
    assert client.post(ROUTES[0], json=wrong, auth=("me", "secret")).status_code == 422
    assert client.post(ROUTES[0], json={}, auth=("me", "secret")).status_code == 200


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"\xff\xff", "application/json"),
        (b"[" * 200_000, "application/json"),
        (b"[]", "application/json"),
        (b'"alwayson_scripts"', "application/json"),
        (b'{"alwayson_scripts": []}', "application/json"),
        (b'{"alwayson_scripts": 7}', "application/json"),
        (b"--b\r\n\r\nx\r\n--b--", "multipart/form-data; boundary=b"),
        (b"prompt=a", "application/x-www-form-urlencoded"),
        (b"\x00\x01", "image/png"),
        (b'{"prompt": "a"}', ""),
    ],
    ids=repr,
)
def test_bodies_of_other_kinds_get_the_host_s_answer(content: bytes, kind: str) -> None:
    plain, api = Api(), Api()
    refuse_wrong_arguments(api.app)
    headers = {"content-type": kind}
    wanted, found = (
        TestClient(one.app).post(ROUTES[0], content=content, headers=headers) for one in (plain, api)
    )
    assert (found.status_code, found.content) == (wanted.status_code, wanted.content)
    assert len(api.drawn) == len(plain.drawn)


def test_a_large_picture_is_parsed_once(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = base64.b64encode(bytes(6 * 2**20)).decode()
    body = {**script({"args": [{"patch_size": 3}]}), "init_images": [picture] * 2}
    content = json.dumps(body).encode()
    parsed = 0
    original = json.loads

    def loads(text: Any, **options: Any) -> Any:
        nonlocal parsed
        parsed += len(text) > 10**6
        return original(text, **options)

    monkeypatch.setattr(json, "loads", loads)
    answer = TestClient(api.app).post(
        ROUTES[1], content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 200 and parsed == 1
    assert api.drawn[0].init_images == [picture] * 2


PLAIN: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=PLAIN | st.fixed_dictionaries({"args": PLAIN | st.lists(PLAIN, max_size=3)}))
def test_any_value_is_drawn_or_refused(api: Api, value: Any) -> None:
    problem = problem_of_request(script(value))
    assert problem is None or (problem and len(problem) < 400)
    drawn = len(api.drawn)
    answer = TestClient(api.app).post(ROUTES[0], content=json.dumps(script(value)).encode(), headers=JSON)
    assert answer.status_code == (200 if problem is None else 422)
    assert len(api.drawn) - drawn == (problem is None)


JSON = {"content-type": "application/json"}


@given(body=PLAIN)
def test_any_body_can_be_looked_at(body: Any) -> None:
    assert problem_of_request(body) is None
