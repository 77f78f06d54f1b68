"""What an evaluation draws: pictures dealt to combinations of networks, the same for every method."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

C = TypeVar("C")

Split = Literal["development", "held-out"]
"""Settings are chosen on "development"; figures are reported on "held-out", which nothing was chosen on."""


@dataclass(frozen=True)
class Task:
    """One picture to draw.

    Attributes:
        networks: names of the networks that are asked for.
        split: which part of the tasks it belongs to.
        number: place among the pictures of its combination, from 0.
        seed: of the noise.
    """

    networks: tuple[str, ...]
    split: Split
    number: int
    seed: int

    @property
    def combination(self) -> str:
        """The networks as one word; pictures of one combination are not independent of each other."""
        return "+".join(self.networks)

    @property
    def key(self) -> str:
        """A name that no other task of the suite has: "star+grid held-out 3"."""
        return f"{self.combination} {self.split} {self.number}"


def deal(combinations: Sequence[C], pictures: int | None, split: str) -> Iterator[tuple[C, int]]:
    """(combination, number of its picture) for so many pictures, dealt to the combinations in turn.

    More pictures keep the ones that were there.

    Args:
        combinations: what they are dealt to.
        pictures: how many, at least 1; None: each combination once.
        split: part of the tasks.

    Raises:
        ValueError: a number or the name of the split is not allowed.
    """
    if pictures is not None and pictures < 1:
        raise ValueError(f"pictures is {pictures}; give 1 or more")
    if split not in get_args(Split):
        raise ValueError(f"split is {split!r}; give one of: {', '.join(get_args(Split))}")
    for place in range(len(combinations) if pictures is None else pictures):
        yield combinations[place % len(combinations)], place // len(combinations)
