"""The list of networks: a click puts a network's tag into the prompt, another one takes it out."""

from __future__ import annotations

import re
from collections.abc import Iterable


def with_tag_toggled(prompt: str, name: str) -> str:
    """``prompt`` without the tags of network ``name``, or where there are none with one of strength 1."""
    tags = re.compile(rf" ?<(?:lora|lyco):{re.escape(name)}(?::[^>]*)?>")
    without, count = tags.subn("", prompt)
    if count:
        return without
    return f"{prompt.rstrip()} <lora:{name}:1>".lstrip()


def names_like(names: Iterable[str], wanted: str) -> list[str]:
    """The names that hold all words of ``wanted``, capital and small letters alike."""
    words = wanted.casefold().split()
    return [name for name in names if all(word in name.casefold() for word in words)]
