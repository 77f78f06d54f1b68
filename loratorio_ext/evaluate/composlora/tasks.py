"""What is drawn: every combination of the testbed, each with seeds of its own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import get_args

from loratorio_ext.evaluate.composlora.testbed import Element, Testbed
from loratorio_ext.evaluate.composlora.wording import Wording
from loratorio_ext.evaluate.tasks import Split


@dataclass(frozen=True)
class Task:
    """One picture to draw, the same for every method.

    Attributes:
        networks: names of the networks, the character's first.
        style: half of the testbed.
        split: which part of the tasks it belongs to; the parts differ in their seeds.
        number: place among the pictures of its combination, from 0.
        caption: the networks' trigger words, joined; what the picture is compared with.
        text: the prompt without tags.
        seed: of the noise.
    """

    networks: tuple[str, ...]
    style: str
    split: Split
    number: int
    caption: str
    text: str
    seed: int

    @property
    def combination(self) -> str:
        """The networks as one word."""
        return "+".join(self.networks)

    @property
    def key(self) -> str:
        """A name that no other task of the style has: "character_1+style_2 held-out 0"."""
        return f"{self.combination} {self.split} {self.number}"

    def prompt(self, strength: float) -> str:
        """The text, and a tag for each network."""
        return " ".join([self.text, *(f"<lora:{name}:{strength!r}>" for name in self.networks)])


def tasks(
    testbed: Testbed, style: str, networks: int, pictures: int | None, split: Split, wording: Wording
) -> tuple[Task, ...]:
    """So many tasks, dealt to the combinations in turn; more pictures keep the ones that were there.

    Combinations are dealt in an order that says nothing about them, so that a few pictures are a fair sample.
    The testbed draws all of its pictures from one generator, so that a picture's noise depends on those
    before it; here each has a seed made of its name, which a run that is taken up again, or spread, needs.

    Args:
        testbed: the networks.
        style: half of the testbed.
        networks: N, networks in each picture.
        pictures: how many, at least 1; None: each combination once.
        split: part of the tasks.
        wording: of the prompts.

    Raises:
        ValueError: a number or the name of the split is not allowed.
    """
    if pictures is not None and pictures < 1:
        raise ValueError(f"pictures is {pictures}; give 1 or more")
    if split not in get_args(Split):
        raise ValueError(f"split is {split!r}; give one of: {', '.join(get_args(Split))}")
    every = sorted(testbed.combinations(networks), key=lambda chosen: _number(style, *_names(chosen)))
    made = []
    for place in range(len(every) if pictures is None else pictures):
        chosen, number = every[place % len(every)], place // len(every)
        triggers = [trigger for element in chosen for trigger in element.triggers]
        names = _names(chosen)
        seed = _number(style, *names, split, str(number))
        made.append(Task(names, style, split, number, ", ".join(triggers), wording.prompt(triggers), seed))
    return tuple(made)


def _names(chosen: tuple[Element, ...]) -> tuple[str, ...]:
    return tuple(element.id for element in chosen)


def _number(*words: str) -> int:
    """32 bits that depend on the words alone; Python's own hash changes from process to process."""
    return int.from_bytes(hashlib.sha256(" ".join(("composlora", *words)).encode()).digest()[:4], "big")
