"""Which networks a pool means: patterns of names, and trigger words of the prompt. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase


def choose_pool(pool: str, known: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """(the networks that a pool means, parts of it that mean none).

    pool: names, or patterns of paths such as ``characters/*``, separated by commas. ``*`` also stands for
    ``/``. A backslash is read as ``/``, and capital and small letters of a path are the same. known: name of
    every network → its path below the folder of networks, without suffix, with ``/``. The names are each
    given once, in the order of the pool and sorted within a pattern.
    """
    names: dict[str, None] = {}
    unknown: list[str] = []
    for wanted in filter(None, (part.strip() for part in pool.split(","))):
        pattern = wanted.replace("\\", "/").casefold()
        found = [n for n, path in known.items() if wanted == n or fnmatchcase(path.casefold(), pattern)]
        if not found:
            unknown.append(wanted)
        names.update(dict.fromkeys(sorted(found)))
    return list(names), unknown


def pool_by_words(
    names: Sequence[str], text: str, top_k: int, words_of: Callable[[str], Sequence[str]]
) -> list[str]:
    """Those networks of a pool that a prompt asks for by their trigger words, in the order of the pool.

    Where it has words of none, all of them. Where it has words of fewer than ``top_k``, those that have no
    trigger words come after them, since nothing is known of these.

    Args:
        names: of the pool's networks.
        text: the prompts, without tags.
        top_k: how many may speak at a time; 0: all.
        words_of: name → its trigger words.
    """
    prompt = f" {_plain_words(text)} "
    words = {name: [f" {_plain_words(word)} " for word in words_of(name)] for name in names}
    asked = [name for name in names if any(word.strip() and word in prompt for word in words[name])]
    if not asked:
        return list(names)
    silent = [name for name in names if not words[name]] if len(asked) < top_k else []
    return [*asked, *silent]


def _plain_words(text: str) -> str:
    """In small letters, with one blank between words and nothing else."""
    return " ".join(re.findall(r"\w+", text.casefold().replace("_", " ")))
