"""The WebUI's infotext: keys and values in one line, values with separators in quotes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

_MOST_JSON = 50
"""How many values of a line may be lists or objects; looking for the end of one takes the line's length."""
_OPEN = re.compile(r"\s*(?=[\[{])")
_QUOTE = re.compile(r'\s*"')
_REST = re.compile(r'(?P<value>(?:[^\\"]|\\.)*"\s*)(?:,|$)')


def quoted(value: str) -> str:
    """A value as the WebUI writes it: in JSON's quotes where it holds a separator (infotext_utils.quote)."""
    return json.dumps(value, ensure_ascii=False) if any(mark in value for mark in ",:\n") else value


def unquoted(value: str) -> str:
    """A value as it was before :func:`quoted`; what cannot be read is left as it is."""
    try:
        return str(json.loads(value)) if value.startswith('"') else value
    except json.JSONDecodeError:
        return value


def last_line_fields(text: str) -> dict[str, str]:
    """Keys and values of the last line; commas inside a value in quotes do not separate.

    As ``re_param`` of the WebUI (modules/infotext_utils.py) reads them: quotes count where a value begins and
    ends with one, so that a lone quotation mark is a character like any other. A value that is a list or an
    object of JSON (Civitai's resources) is one value too, which the WebUI would cut up.
    """
    return {key: value for key, value in last_line_parts(text) if value is not None}


def last_line_parts(text: str) -> Iterator[tuple[str, str | None]]:
    """As :func:`last_line_fields`, in order and with what counts for nothing; None: it has no colon."""
    last_line = text.strip().rpartition("\n")[2]
    for key, colon, value in (part.partition(":") for part in _fields(last_line)):
        if colon or key.strip():
            yield key.strip(), unquoted(value.strip()) if colon else None


def _fields(line: str) -> Iterator[str]:
    # Field by field: one regular expression for all takes quadratic time on a line made for that.
    start = tried = 0
    while start < len(line):
        comma = line.find(",", start)
        end = len(line) if comma < 0 else comma
        begins = _QUOTE.match(line, line.find(":", start, end) + 1) if ":" in line[start:end] else None
        closed = _REST.match(line, begins.end()) if begins else None
        opened = _OPEN.match(line, line.find(":", start, end) + 1) if ":" in line[start:end] else None
        if closed:
            end = closed.end("value")
        elif opened and tried < _MOST_JSON:
            tried += 1
            end = _end_of_json(line, opened.end(), end)
        yield line[start:end]
        start = end + 1


def _end_of_json(line: str, start: int, otherwise: int) -> int:
    """Where the list or object that begins at ``start`` ends, if a comma or nothing follows it."""
    try:
        _, end = json.JSONDecoder().raw_decode(line, start)
    except (ValueError, RecursionError):
        return otherwise
    rest = line[end : end + 1000].lstrip()
    return end if not rest or rest[0] == "," else otherwise
