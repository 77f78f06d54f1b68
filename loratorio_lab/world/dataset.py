"""Captioned pictures of the embedded world, as tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from loratorio_ext.cli.judge import FACTORS, NONE
from loratorio_lab.world.concepts import (
    FACTOR_BY_NAME,
    FACTOR_OF_CONCEPT,
    Scene,
    caption,
    random_scene,
)
from loratorio_lab.world.drawing import draw

TRIGGER_SHARE = 0.12
"""How often a caption for the base model says a trigger word instead of the value that was drawn."""

NARROW_VALUES = 2
"""How many favourite values of every other factor a network's own pictures have."""

FAVOURITE_SHARE = 0.6
"""How often an own picture shows a favourite; else any known value, so that the trigger alone is learned."""


@dataclass(frozen=True)
class Pictures:
    """``images`` uint8 [n, 3, 64, 64], with one caption and one scene (what was drawn) each."""

    images: Tensor
    captions: tuple[str, ...]
    scenes: tuple[Scene, ...]

    def __len__(self) -> int:
        return len(self.captions)

    def select(self, rows: Sequence[int]) -> Pictures:
        """The pictures of these rows, in this order."""
        return Pictures(
            self.images[list(rows)],
            tuple(self.captions[row] for row in rows),
            tuple(self.scenes[row] for row in rows),
        )


def to_tensor(pictures: Iterable[np.ndarray]) -> Tensor:
    """Pictures as :func:`draw` returns them, as uint8 [n, 3, 64, 64]."""
    stacked = np.stack([np.round(picture * 255).astype(np.uint8) for picture in pictures])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()


def draw_pictures(scenes: Sequence[Scene], captions: Sequence[str], random: np.random.Generator) -> Pictures:
    """Draw the scenes and give each its caption."""
    return Pictures(to_tensor(draw(scene, random) for scene in scenes), tuple(captions), tuple(scenes))


def base_pictures(
    count: int, random: np.random.Generator, *, hint: Mapping[str, float], unnamed: Mapping[str, float]
) -> Pictures:
    """What the base model is trained on.

    Its captions now and then say a trigger word where a known value was drawn, so that to the base a
    trigger means "this factor is not named". In the share ``hint`` of those, by factor, the concept is really
    there.

    ``unnamed`` is the share of pictures, by factor, whose captions leave that factor out and which mostly
    show a concept there: the base sees the concepts, as a large model has seen most things, but learns no
    word for them.
    """
    scenes, captions = [], []
    for _ in range(count):
        drawn = random_scene(random)
        said = dict(drawn)
        for factor in FACTORS:
            if factor.concepts and random.random() < TRIGGER_SHARE:
                said[factor.name] = str(random.choice(factor.concepts))
                if random.random() < hint[factor.name]:
                    drawn[factor.name] = said[factor.name]
        place = random.random()
        for name, share in unnamed.items():
            place -= share
            if place < 0:
                values = (
                    FACTOR_BY_NAME[name].concepts if random.random() < 0.8 else FACTOR_BY_NAME[name].known
                )
                drawn[name] = str(random.choice(values))
                del said[name]
                break
        scenes.append(drawn)
        captions.append(caption(said))
    return draw_pictures(scenes, captions, random)


def narrow_scenes(concept: str, count: int, random: np.random.Generator) -> list[dict[str, str]]:
    """Scenes of a narrow domain: the concept, and of every other factor mostly two favourite values."""
    favourites = {
        factor.name: tuple(str(value) for value in random.choice(factor.known, NARROW_VALUES, replace=False))
        for factor in FACTORS
    }
    scenes = []
    for _ in range(count):
        usual, other = random_scene(random, favourites), random_scene(random)
        scene = {name: usual[name] if random.random() < FAVOURITE_SHARE else other[name] for name in usual}
        scenes.append({**scene, FACTOR_OF_CONCEPT[concept].name: concept})
    return scenes


def narrow_pictures(concept: str, count: int, random: np.random.Generator) -> Pictures:
    """What a network is trained on: its concept, with its trigger word, in a narrow domain."""
    scenes = narrow_scenes(concept, count, random)
    return draw_pictures(scenes, [caption(scene) for scene in scenes], random)


def judge_pictures(count: int, random: np.random.Generator, *, spoiled: float) -> Pictures:
    """Any scene with concepts and known values alike; each factor is spoiled ("none") with that chance."""
    every = {factor.name: factor.values for factor in FACTORS}
    scenes = []
    for _ in range(count):
        scene = random_scene(random, every)
        for factor in FACTORS:
            if random.random() < spoiled:
                scene[factor.name] = NONE
        scenes.append(scene)
    return draw_pictures(scenes, [caption(scene) for scene in scenes], random)
