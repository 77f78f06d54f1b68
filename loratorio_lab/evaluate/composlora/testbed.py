"""The testbed's networks, read from the user's own copy of its list, and the pictures to draw of them."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loratorio_lab.evaluate.composlora.wording import LARGEST, REPOSITORY, Wording
from loratorio_lab.evaluate.tasks import Split, Task, deal

CHARACTER: Final = "character"
"""The category that every combination has a network of."""

MOST_NETWORKS: Final = 256
# What a name of a file may be: the name goes into paths and into tags.
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_LONGEST_TRIGGER: Final = 200


@dataclass(frozen=True)
class Element:
    """One network: the stem of its file, its category, and the words that call it."""

    id: str
    category: str
    triggers: tuple[str, ...]


@dataclass(frozen=True)
class Testbed:
    """One style's networks.

    Attributes:
        elements: in the order of the list.
        digest: SHA-256 of the list, in hexadecimal digits.
    """

    elements: tuple[Element, ...]
    digest: str

    def combinations(self, networks: int) -> tuple[tuple[Element, ...], ...]:
        """Every choice of a character and networks of different other categories, in the list's order.

        The published lists have 24, 72, 96 and 48 of them for 2, 3, 4 and 5 networks.

        Args:
            networks: N; 1 to the number of categories.

        Raises:
            ValueError: no picture can hold so many.
        """
        categories = list(dict.fromkeys(element.category for element in self.elements))
        if not 1 <= networks <= len(categories):
            raise ValueError(
                f"networks is {networks}; give 1 to {len(categories)}, the testbed's number of categories"
            )
        others = [category for category in categories if category != CHARACTER]
        return tuple(
            chosen
            for some in itertools.combinations(others, networks - 1)
            for chosen in itertools.product(*(self._of(category) for category in (CHARACTER, *some)))
        )

    def _of(self, category: str) -> tuple[Element, ...]:
        return tuple(element for element in self.elements if element.category == category)


def list_name(style: str) -> str:
    """The file of a style's list, as the testbed's repository calls it."""
    return f"{style}_lora_info.json"


def find_lists(folders: Sequence[Path], style: str) -> Path:
    """The first of the folders that holds the style's list.

    Raises:
        ValueError: none does.
    """
    for folder in folders:
        if (folder / list_name(style)).is_file():
            return folder
    raise ValueError(
        f"no {list_name(style)} in {', '.join(str(folder) for folder in folders)}. It lists the testbed's "
        f"networks and words: get {REPOSITORY} and name its folder with --testbed"
    )


def read_testbed(file: Path) -> Testbed:
    """Read a list: an object of categories, each with a list of {"id": …, "trigger": [...]}.

    Ids become names of files, so only letters, digits, "_" and "-" are taken; triggers become parts of
    prompts, so they may hold no tag.

    Raises:
        ValueError: the file cannot be read, or is no such list; names the place in it.
    """
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"it is longer than {LARGEST:,} bytes")
        return Testbed(_elements(json.loads(content)), hashlib.sha256(content).hexdigest())
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{file} is no list of the testbed's networks: {error}") from error


def _elements(value: Any) -> tuple[Element, ...]:
    if not isinstance(value, dict) or not isinstance(value.get(CHARACTER), list):
        raise ValueError(f"it is no object with a list {CHARACTER!r}")
    elements: list[Element] = []
    for category, entries in value.items():
        if not _ID.fullmatch(category) or not isinstance(entries, list) or not entries:
            raise ValueError(f"{category[:40]!r} is no category with a list of networks")
        elements += [
            _element(category, f"{category} {place}", entry) for place, entry in enumerate(entries, 1)
        ]
    ids = [element.id.casefold() for element in elements]
    twice = [name for name in dict.fromkeys(ids) if ids.count(name) > 1]
    if twice:
        raise ValueError(f"the id {twice[0]!r} is there twice")
    if len(elements) > MOST_NETWORKS:
        raise ValueError(f"it has {len(elements)} networks; at most {MOST_NETWORKS} are read")
    return tuple(elements)


def _element(category: str, place: str, entry: Any) -> Element:
    name = entry.get("id") if isinstance(entry, dict) else None
    if not isinstance(name, str) or not _ID.fullmatch(name):
        raise ValueError(
            f"the id of {place} is {str(name)[:40]!r}; it must be at most 40 letters, digits, '_' and '-'"
        )
    triggers = entry.get("trigger")
    if not isinstance(triggers, list) or not triggers or not all(map(_is_trigger, triggers)):
        raise ValueError(
            f"the trigger of {name} must be a list of texts, each of at most {_LONGEST_TRIGGER} characters "
            "on one line, without '<' and '>'"
        )
    return Element(name, category, tuple(triggers))


def _is_trigger(text: Any) -> bool:
    return (
        isinstance(text, str)
        and 0 < len(text.strip()) <= len(text) <= _LONGEST_TRIGGER
        and text.isprintable()
        and not set("<>") & set(text)
    )


@dataclass(frozen=True)
class ComposLoraTask(Task):
    """One picture of the testbed; the character's network is the first.

    Attributes:
        caption: the networks' trigger words, joined; what the picture is compared with.
        text: the prompt without tags.
    """

    caption: str
    text: str

    def prompt(self, strength: float) -> str:
        """The text, and a tag for each network."""
        return " ".join([self.text, *(f"<lora:{name}:{strength!r}>" for name in self.networks)])


def composlora_tasks(
    testbed: Testbed, style: str, networks: int, pictures: int | None, split: Split, wording: Wording
) -> tuple[ComposLoraTask, ...]:
    """So many tasks of N networks each.

    Combinations are dealt in an order that says nothing about them, so that a few pictures are a fair sample.
    The testbed draws all of its pictures from one generator, so that a picture's noise depends on those
    before it; here each has a seed made of its name, which a run that is taken up again, or spread, needs.

    Args:
        testbed: the networks.
        style: half of the testbed.
        networks: N.
        pictures: how many, at least 1; None: each combination once.
        split: part of the tasks; the parts differ in their seeds.
        wording: of the prompts.

    Raises:
        ValueError: a number or the name of the split is not allowed.
    """
    every = sorted(testbed.combinations(networks), key=lambda chosen: _number(style, *_names(chosen)))
    made = []
    for chosen, number in deal(every, pictures, split):
        triggers = [trigger for element in chosen for trigger in element.triggers]
        names = _names(chosen)
        seed = _number(style, *names, split, str(number))
        made.append(ComposLoraTask(names, split, number, seed, ", ".join(triggers), wording.prompt(triggers)))
    return tuple(made)


def _names(chosen: tuple[Element, ...]) -> tuple[str, ...]:
    return tuple(element.id for element in chosen)


def _number(*words: str) -> int:
    """32 bits that depend on the words alone; Python's own hash changes from process to process."""
    return int.from_bytes(hashlib.sha256(" ".join(("composlora", *words)).encode()).digest()[:4], "big")
