"""Reading a JSON body that a stranger sent."""

from __future__ import annotations

import json
from typing import Final

from fastapi import Request

from loratorio_ext.api.question import Refusal

LARGEST_BODY: Final = 2**20  # bytes


async def read_body(request: Request) -> object:
    """The parsed body. Its content type is not asked for: what is JSON is taken as JSON.

    Whole numbers come as floats, because Python refuses to read very long ones as int.

    Raises:
        Refusal: 413, more than a mebibyte; 422, not JSON, nested too deeply, or a name twice in an object.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > 12 or int(announced) > LARGEST_BODY):
        raise _too_large()
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():  # a client may announce less than it sends, or nothing
        size += len(part)
        if size > LARGEST_BODY:
            raise _too_large()
        parts.append(part)
    return parse(b"".join(parts))


def parse(body: bytes) -> object:
    """See `read_body`."""
    try:
        parsed: object = json.loads(body, object_pairs_hook=_without_repeats, parse_int=float)
    except RecursionError as error:
        raise Refusal(422, "the body is nested too deeply; give one object with plain values") from error
    except ValueError as error:  # JSON's and Unicode's errors are of this kind
        reason = str(error)[:200].encode("ascii", "backslashreplace").decode()
        raise Refusal(422, f'the body is not JSON ({reason}); give {{"prompt": "..."}}, say') from error
    return parsed


def _too_large() -> Refusal:
    return Refusal(413, f"the body is too large; give at most {LARGEST_BODY} bytes")


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name is there twice")
    return values
