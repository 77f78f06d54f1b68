"""One route: from the request to the answer, and its description."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool

from loratorio_ext.api.body import read_body
from loratorio_ext.api.credentials import may_ask
from loratorio_ext.api.parameters import Parameter, read_parameters
from loratorio_ext.api.question import Question, Refusal
from loratorio_ext.server.server import Server

Endpoint = Callable[[Request], Awaitable[Response]]

JSON: Final = "application/json"
PNG: Final = "image/png"

# Numbers of runs begin anew with each start of the server, so an old answer must not be shown again.
_HEADERS: Final[Mapping[str, str]] = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(frozen=True)
class Route:
    """One route.

    Attributes:
        path: below the prefix, with parameters in braces.
        summary: what it gives, in a sentence.
        answer: makes the answer; bytes are a PNG, everything else becomes JSON. Called in a thread.
        parameters: of path and query.
        schema: JSON Schema of the answer; None: a PNG.
        body: JSON Schema of the body; None: no body, the method is GET, else POST.
        may_lack: whether what is asked for may not be there (404).
    """

    path: str
    summary: str
    answer: Callable[[Question], object]
    parameters: tuple[Parameter, ...] = ()
    schema: Mapping[str, Any] | None = None
    body: Mapping[str, Any] | None = None
    may_lack: bool = False

    @property
    def method(self) -> Literal["GET", "POST"]:
        """See ``body``."""
        return "GET" if self.body is None else "POST"

    def endpoint(self, server: Server, credentials: Mapping[str, str] | None) -> Endpoint:
        """The function that FastAPI calls."""

        async def endpoint(request: Request) -> Response:
            if not may_ask(credentials, request.headers.get("authorization")):
                return _refused(401, "Incorrect username or password", {"WWW-Authenticate": "Basic"})
            try:
                query = request.query_params.multi_items()
                given = read_parameters(self.parameters, request.path_params, query)
                body = None if self.body is None else await read_body(request)
                found = await run_in_threadpool(self.answer, Question(server, given, body))
            except Refusal as refusal:
                return _refused(refusal.status, refusal.detail)
            except OSError:  # its text would name folders of this computer
                return _refused(503, "a file or folder of the server cannot be read; try again later")
            return _answered(found)

        return endpoint

    def responses(self, with_credentials: bool) -> dict[int | str, dict[str, Any]]:
        """OpenAPI's description of the answers."""
        good = {PNG: {"schema": {"type": "string", "format": "binary"}}}
        if self.schema is not None:
            good = {JSON: {"schema": dict(self.schema)}}
        found: dict[int | str, dict[str, Any]] = {
            200: {"description": "The answer", "content": good},
            422: _problem("A parameter or a value of the body is wrong"),
            503: _problem("A file or folder of the server cannot be read"),
        }
        if with_credentials:
            found[401] = _problem("User or password is wrong")
        if self.may_lack:
            found[404] = _problem("It is not there, or not kept any more")
        if self.body is not None:
            found[413] = _problem("The body is too large")
        return dict(sorted(found.items()))

    def openapi_extra(self) -> dict[str, Any]:
        """OpenAPI's description of the parameters and the body."""
        extra: dict[str, Any] = {}
        if self.parameters:
            extra["parameters"] = [one.to_openapi() for one in self.parameters]
        if self.body is not None:
            extra["requestBody"] = {"required": True, "content": {JSON: {"schema": dict(self.body)}}}
        return extra


def to_json(value: object) -> bytes:
    """JSON in plain ASCII, since prompts may hold halves of letters; NaN and infinity become null."""
    try:
        return json.dumps(value, allow_nan=False).encode()
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False).encode()


def _finite(value: object) -> object:
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _answered(found: object) -> Response:
    if isinstance(found, bytes):
        return Response(found, media_type=PNG, headers=dict(_HEADERS))
    return Response(to_json(found), media_type=JSON, headers=dict(_HEADERS))


def _refused(status: int, detail: str, headers: Mapping[str, str] | None = None) -> Response:
    content = to_json({"detail": detail})
    return Response(content, status, {**_HEADERS, **(headers or {})}, media_type=JSON)


def _problem(description: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"detail": {"type": "string"}}, "required": ["detail"]}
    return {"description": description, "content": {JSON: {"schema": schema}}}
