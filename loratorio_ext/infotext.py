"""The WebUI's infotext: keys and values in one line, values with separators in quotes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

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
    ends with one, so that a lone quotation mark is a character like any other.
    """
    last_line = text.strip().rpartition("\n")[2]
    parts = (part.partition(":") for part in _fields(last_line))
    return {key.strip(): unquoted(value.strip()) for key, colon, value in parts if colon}


def _fields(line: str) -> Iterator[str]:
    # Field by field: one regular expression for all takes quadratic time on a line made for that.
    start = 0
    while start < len(line):
        comma = line.find(",", start)
        end = len(line) if comma < 0 else comma
        begins = _QUOTE.match(line, line.find(":", start, end) + 1) if ":" in line[start:end] else None
        closed = _REST.match(line, begins.end()) if begins else None
        if closed:
            end = closed.end("value")
        yield line[start:end]
        start = end + 1
