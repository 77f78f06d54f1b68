"""Which texts may name a network, which networks a pool means, and how to say what is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType

MAX_NAME = 200
"""Longest name, in characters. File systems allow 255 bytes a component."""


def shown(text: str, limit: int = 60) -> str:
    """Untrusted text for a message: quoted, escaped, at most `limit` characters of it."""
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


@dataclass(frozen=True)
class Problem:
    """A sentence with places for values; ``str`` of it is English.

    Attributes:
        text: English, with the values' names in braces; fit to be looked up in a language file.
        values: what stands in the places: numbers, texts fit to be shown, or other problems.
    """

    text: str
    values: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    def said(self, say: Callable[..., str]) -> str:
        """The sentence in another language.

        Args:
            say: is given a text and its values by name; returns the translated text with the values in it.
        """
        values = {
            name: value.said(say) if isinstance(value, Problem) else value
            for name, value in self.values.items()
        }
        return say(self.text, **values)

    def __str__(self) -> str:
        return self.said(lambda text, **values: text.format(**values))


def name_problem(name: str) -> Problem | None:
    """Why `name` cannot name a network; None if it can.

    A name is a file's stem, with subfolders before it if need be ("style/ink"), or the name that the
    file gives itself. It is only ever compared, never joined to a path; names that look like a way out of the
    folder are refused all the same, so that the message says what is wrong.
    """
    if not name:
        return Problem("the name is empty")
    if len(name) > MAX_NAME:
        return Problem(
            "the name has {count} characters; at most {most} are allowed",
            {"count": len(name), "most": MAX_NAME},
        )
    if not name.isprintable():
        return Problem("the name has control characters or others that cannot be shown")
    parts = name.replace("\\", "/").split("/")
    if ".." in parts or "." in parts or "" in parts:
        return Problem(
            "the name must be a file's stem, optionally with subfolders of the folder of networks before it"
        )
    return None


def choose_pool(pool: str, known: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The networks that a pool means.

    Args:
        pool: names, or patterns of paths such as ``characters/*``, separated by commas. ``*`` also stands for
            ``/``. A backslash is read as ``/``, and capital and small letters of a path are the same.
        known: name of every network → its path below the folder of networks, without suffix, with ``/``.

    Returns:
        (names, each once, in the order of the pool and sorted within a pattern; parts that mean no network).
    """
    names: dict[str, None] = {}
    unknown: list[str] = []
    for wanted in filter(None, (part.strip() for part in pool.split(","))):
        pattern = wanted.replace("\\", "/").casefold()
        found = [
            name for name, path in known.items() if wanted == name or fnmatchcase(path.casefold(), pattern)
        ]
        if not found:
            unknown.append(wanted)
        names.update(dict.fromkeys(sorted(found)))
    return list(names), unknown
