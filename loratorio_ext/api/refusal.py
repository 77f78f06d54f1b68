"""Wrong arguments for LoRAtorio's script are refused by the WebUI's own routes, before anything is drawn.

A script's hook comes too late for that: what it raises is written into the log, and the request goes on and
answers with a merged picture.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, Final

from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.routing import APIRoute

from loratorio_ext.setting import shown
from loratorio_ext.settings import settings_from_arguments

ROUTES: Final = ("/sdapi/v1/txt2img", "/sdapi/v1/img2img")
"""The WebUI's routes that draw pictures."""

TITLE: Final = "LoRAtorio"
"""The script's name in ``alwayson_scripts``; the WebUI reads it whatever the case of its letters."""

_EXAMPLE: Final = 'for example {"args": [{"patch_size": 2}]}'


def refuse_wrong_arguments(app: FastAPI, routes: Iterable[str] = ROUTES) -> None:
    """Let the WebUI's routes answer 422 to arguments that LoRAtorio's script cannot use.

    A route that is there is replaced, in its place, by the same route with one more dependency; one that is
    not there is left out. Calling this again changes nothing.

    It is a dependency and no middleware: when the WebUI calls its extensions the app runs already, and
    Starlette takes no middleware then. A dependency also finds the body read and parsed, which a middleware
    would have to do again, for bodies with pictures of many megabytes.
    """
    wanted = frozenset(routes)
    for place, route in enumerate(app.router.routes):
        if not isinstance(route, APIRoute) or route.path not in wanted:
            continue
        if not any(one.dependency is _check for one in route.dependencies):
            app.router.routes[place] = _with_the_check(route)
    app.openapi_schema = None


def problem_of_request(body: object) -> str | None:
    """What is wrong with the arguments for LoRAtorio in a request's parsed body; None: nothing.

    The rest of the body is the WebUI's to judge.
    """
    scripts = body.get("alwayson_scripts") if isinstance(body, Mapping) else None
    if not isinstance(scripts, Mapping):
        return None
    ours = (value for name, value in scripts.items() if str(name).lower() == TITLE.lower())
    return next((problem for problem in map(_problem, ours) if problem is not None), None)


def _problem(given: object) -> str | None:
    if not isinstance(given, Mapping):
        return f"it is {shown(given)}; give an object, {_EXAMPLE}"
    if "args" not in given:
        # The WebUI reads nothing else, so a slip of the pen would silently switch LoRAtorio off.
        return f"it has {shown(next(iter(given)))} and no args; give args, {_EXAMPLE}" if given else None
    arguments = given["args"]
    if not isinstance(arguments, list):
        return f"args is {shown(arguments)}; give a list, {_EXAMPLE}"
    if len(arguments) > 1 and isinstance(arguments[0], dict):
        # The script ignores what follows, since the WebUI itself puts values there; a user's would be lost.
        return f"{shown(arguments[1])} follows an object with names; give that object alone, {_EXAMPLE}"
    try:
        settings_from_arguments(arguments)
    except ValueError as error:
        return str(error)
    return None


async def _check(request: Request) -> None:
    """The dependency: FastAPI has read and parsed the body by now, and the request has kept both."""
    try:
        body = await request.json()
    except (ValueError, RecursionError):
        return  # not JSON: the route itself says so
    problem = problem_of_request(body)
    if problem is not None:
        raise HTTPException(422, f"alwayson_scripts.{TITLE}: {problem}")


def _with_the_check(route: APIRoute) -> APIRoute:
    # A route keeps what it was made of under the names of its constructor's parameters, which are not the
    # same in all versions of FastAPI. Ours comes last: who is not let in learns nothing.
    names = [name for name in inspect.signature(APIRoute.__init__).parameters if hasattr(route, name)]
    parts: dict[str, Any] = {name: getattr(route, name) for name in names}
    return type(route)(**{**parts, "dependencies": [*route.dependencies, Depends(_check)]})
