"""What all routes share: who may ask, what is read of a request, and the form of answers and refusals."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Coroutine, Mapping
from secrets import compare_digest
from typing import Any, Final

from fastapi import HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from fastapi.security import HTTPBasic

from loratorio_ext.setting import shown

JSON: Final = "application/json"
LARGEST_BODY: Final = 2**20  # bytes
# Numbers of runs begin anew with each start of the server, so an old answer must not be shown again.
_HEADERS: Final[Mapping[str, str]] = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Json(JSONResponse):
    """JSON in plain ASCII, since prompts may hold halves of letters; NaN and infinity become null."""

    media_type = JSON

    def render(self, content: Any) -> bytes:
        """The body."""
        try:
            return json.dumps(content, allow_nan=False).encode()
        except ValueError:
            finite = json.loads(json.dumps(content), parse_constant=lambda name: None)
            return json.dumps(finite).encode()


class Png(Response):
    """A picture."""

    media_type = "image/png"


class Basic(HTTPBasic):
    """Says in the API's description that a user and a password are wanted; `guard` looks at them.

    FastAPI's own would also read them, but in ASCII alone; and its older versions do not understand a
    ``__call__`` that takes the request.
    """

    async def __call__(self) -> None:  # type: ignore[override]
        """Lets everybody pass."""


def guard(credentials: Mapping[str, str]) -> Callable[[Request], Coroutine[Any, Any, None]]:
    """A dependency that refuses (401) whoever is none of these users: user → password."""

    async def check(request: Request) -> None:
        if not may_ask(credentials, request.headers.get("authorization")):
            raise HTTPException(401, "Incorrect username or password", {"WWW-Authenticate": "Basic"})

    return check


def may_ask(credentials: Mapping[str, str], header: str | None) -> bool:
    """Whether the Authorization header names a user with the right password; never raises on any text."""
    scheme, _, encoded = (header or "").partition(" ")
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).partition(b":")
    except ValueError:
        return False
    # Every user is compared, so that the time says nothing about which users there are.
    fits = [
        compare_digest(user, name.encode()) & compare_digest(password, secret.encode())
        for name, secret in credentials.items()
    ]
    return scheme.lower() == "basic" and bool(colon) and any(fits)


class Route(APIRoute):
    """A route that refuses in one sentence, as ``{"detail": ...}``, whatever the WebUI does with errors."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own, with its errors turned into answers."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                response = await handle(request)
            except RequestValidationError as error:
                response = Json({"detail": self._problem(error, request)}, 422)
            except HTTPException as error:
                response = Json({"detail": error.detail}, error.status_code, error.headers)
            except OSError:  # its text would name folders of this computer
                detail = "a file or folder of the server cannot be read; try again later"
                response = Json({"detail": detail}, 503)
            response.headers.update(_HEADERS)
            return response

        return answer

    def _problem(self, error: RequestValidationError, request: Request) -> str:
        """The first wrong parameter with its value; its title says what is allowed."""
        name = error.errors()[0]["loc"][-1]
        given = {**request.query_params, **request.path_params}[name]
        fields = (*self.dependant.path_params, *self.dependant.query_params)
        allowed = next(one.field_info.title for one in fields if one.alias == name)
        return f"{name} is {shown(given)}; give {allowed}"


def whole(
    place: Callable[..., Any], default: object, lowest: int, highest: int, about: str, **more: object
) -> Any:
    """A whole number for ``place``, FastAPI's Path or Query; its title is for the refusals of `Route`."""
    allowed = f"a whole number from {lowest} to {highest}"
    return place(default, ge=lowest, le=highest, title=allowed, description=about, **more)


async def refuse_unknown_parameters(request: Request) -> None:
    """A dependency: refuses (422) what the route does not take, and what is given twice."""
    known = [one.alias for one in request.scope["route"].dependant.query_params]
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known:
            allowed = f"give {' or '.join(known)}" if known else "this route takes none"
            raise HTTPException(422, f"{shown(name)} is not a parameter here; {allowed}")
        if given.count(name) > 1:
            raise HTTPException(422, f"{name} is given twice; give it once")


async def read_body(request: Request) -> object:
    """A dependency: the parsed JSON body, whatever its content type.

    Whole numbers come as floats, because Python refuses to read very long ones as int.

    Raises:
        HTTPException: 413, more than a mebibyte; 422, not JSON, nested too deeply, or a name twice in an
            object.
    """
    body = b""
    async for part in request.stream():  # a client may announce less than it sends, or nothing
        body += part
        if len(body) > LARGEST_BODY:
            raise HTTPException(413, f"the body is too large; give at most {LARGEST_BODY} bytes")
    try:
        parsed: object = json.loads(body, object_pairs_hook=_without_repeats, parse_int=float)
    except RecursionError as error:
        raise HTTPException(
            422, "the body is nested too deeply; give one object with plain values"
        ) from error
    except ValueError as error:  # JSON's and Unicode's errors are of this kind
        reason = str(error)[:200].encode("ascii", "backslashreplace").decode()
        raise HTTPException(
            422, f'the body is not JSON ({reason}); give, for example, {{"prompt": "..."}}'
        ) from error
    return parsed


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name is given twice")
    return values
