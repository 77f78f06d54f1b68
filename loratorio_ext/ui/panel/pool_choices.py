"""Networks and folders to choose a pool from, and the text that means them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

# Signs that part or end the text of a pool, or that an infotext cannot carry; "?" stands for any one sign.
_SIGNS = str.maketrans({",": "?", '"': "?", "[": "?", "]": "?"})


def pool_choices(known: Mapping[str, str]) -> list[str]:
    """Everything that can be picked: folders as ``folder/*`` first, then networks.

    Args:
        known: name or alias of every network → its path below the folder, without suffix, with ``/``.
    """
    paths = set(known.values())
    folders = {f"{parent}/*" for path in paths for parent in PurePosixPath(path).parents if parent.name}
    parts = {_part(path) for path in folders}, {_part_of(path, known) for path in paths}
    return [part for some in parts for part in sorted(some, key=str.casefold)]


def picked(pool: str, choices: Iterable[str]) -> list[str]:
    """The parts of a pool's text that can be picked."""
    there = set(choices)
    return [part for part in _parts(pool) if part in there]


def with_picked(pool: str, chosen: Iterable[str], choices: Iterable[str]) -> str:
    """The pool's text with exactly ``chosen`` of the choices; what was typed by hand stays in front."""
    there = set(choices)
    typed = [part for part in _parts(pool) if part not in there]
    return ", ".join(dict.fromkeys((*typed, *chosen)))


def _parts(pool: str) -> list[str]:
    return [part.strip() for part in pool.split(",") if part.strip()]


def _part_of(path: str, known: Mapping[str, str]) -> str:
    """A network's name where that means it, as users know it; else its path."""
    name = PurePosixPath(path).name
    return name if known.get(name) == path and name == _part(name) else _part(path)


def _part(path: str) -> str:
    shown = "".join(sign if sign.isprintable() else "?" for sign in path.translate(_SIGNS))
    # A space at an end would be lost where the text is parted.
    start, end = len(shown) - len(shown.lstrip()), len(shown.rstrip())
    return "?" * start + shown[start:end] + "?" * (len(shown) - end)
