"""The WebUI's infotext: keys and values in one line, values with separators in quotes."""

from __future__ import annotations

import json
from collections.abc import Iterator


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
    """Keys and values of the last line; commas inside quotes do not separate."""
    last_line = text.strip().rpartition("\n")[2]
    parts = (part.partition(":") for part in _split_outside_quotes(last_line))
    return {key.strip(): unquoted(value.strip()) for key, colon, value in parts if colon}


def _split_outside_quotes(line: str) -> Iterator[str]:
    # By hand and in one pass: a regular expression takes quadratic time on a line made for that.
    start, quoted_part, escaped = 0, False, False
    for position, character in enumerate(line):
        if character == '"' and not escaped:
            quoted_part = not quoted_part
        elif character == "," and not quoted_part:
            yield line[start:position]
            start = position + 1
        escaped = quoted_part and character == "\\" and not escaped
    yield line[start:]
