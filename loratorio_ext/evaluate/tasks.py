"""What is drawn for an evaluation: combinations of concepts, each with scenes and seeds of its own."""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from loratorio_ext.world.concepts import FACTOR_OF_CONCEPT, FACTORS, Scene, caption, random_scene

Split = Literal["development", "held-out"]
"""Settings are chosen on "development"; figures are reported on "held-out", which nothing was chosen on."""

MOST_NETWORKS: Final = sum(bool(factor.concepts) for factor in FACTORS)


@dataclass(frozen=True)
class Task:
    """One picture to draw, the same for every method.

    Attributes:
        concepts: what the networks are asked for; each concept's network has its name.
        split: which part of the tasks it belongs to.
        number: place among the pictures of its combination, from 0.
        scene: everything that the picture shall hold, one value for each factor.
        seed: of the noise.
    """

    concepts: tuple[str, ...]
    split: Split
    number: int
    scene: Scene
    seed: int

    @property
    def combination(self) -> str:
        """The concepts as one word; pictures of one combination are not independent of each other."""
        return "+".join(self.concepts)

    @property
    def key(self) -> str:
        """A name that no other task has: "star+grid held-out 3"."""
        return f"{self.combination} {self.split} {self.number}"

    @property
    def prompt(self) -> str:
        """The caption, and a tag of strength 1 for each network."""
        return " ".join([caption(self.scene), *(f"<lora:{concept}:1>" for concept in self.concepts)])


def combinations(networks: int) -> tuple[tuple[str, ...], ...]:
    """Every set of so many concepts of different factors, in the order of the factors.

    Raises:
        ValueError: no picture can hold so many.
    """
    if not 1 <= networks <= MOST_NETWORKS:
        raise ValueError(f"networks is {networks}; give 1 to {MOST_NETWORKS}, one for each kind of concept")
    kinds = [factor.concepts for factor in FACTORS if factor.concepts]
    return tuple(
        concepts
        for chosen in itertools.combinations(kinds, networks)
        for concepts in itertools.product(*chosen)
    )


def tasks(networks: int, pictures: int, split: Split) -> tuple[Task, ...]:
    """So many tasks, dealt to the combinations in turn.

    A task does not depend on how many are asked for: more pictures keep the ones that were there.

    Args:
        networks: N, concepts in each picture; 1 to 4.
        pictures: how many; at least 1.
        split: part of the tasks; the two share no scene and no seed but by chance.

    Raises:
        ValueError: a number or the name of the split is not allowed.
    """
    if pictures < 1:
        raise ValueError(f"pictures is {pictures}; give 1 or more")
    if split not in get_args(Split):
        raise ValueError(f"split is {split!r}; give one of: {', '.join(get_args(Split))}")
    every = combinations(networks)
    return tuple(_task(every[place % len(every)], split, place // len(every)) for place in range(pictures))


def _task(concepts: tuple[str, ...], split: Split, number: int) -> Task:
    name = f"{'+'.join(concepts)} {split} {number}"
    # A digest, since Python's own hash of a text changes from process to process.
    random = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
    scene = random_scene(random)
    scene.update({FACTOR_OF_CONCEPT[concept].name: concept for concept in concepts})
    return Task(concepts, split, number, scene, int(random.integers(2**32)))
