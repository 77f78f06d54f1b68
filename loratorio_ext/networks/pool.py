"""A pool: networks that take part without being named one by one."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase


def choose_pool(pool: str, known: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The networks that a pool means.

    Args:
        pool: names, or patterns of paths such as ``characters/*``, parted by commas. ``*`` also stands for
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
