"""The words of the embedded world: what a picture can hold, and which of it only a network can draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

NONE = "none"
"""What the judge answers where a picture holds no value of a factor that has a name."""


@dataclass(frozen=True)
class Factor:
    """One thing that a caption says about a picture.

    ``known`` are the values the base model is taught. ``concepts`` are the values that only a network is
    taught; each concept's own name is its trigger word.
    """

    name: str
    known: tuple[str, ...]
    concepts: tuple[str, ...] = ()

    @property
    def values(self) -> tuple[str, ...]:
        """All values that a caption can name."""
        return self.known + self.concepts


COLOR = Factor("color", ("red", "orange", "green", "blue", "purple"))
TEXTURE = Factor("texture", ("plain", "striped", "dotted"), ("checkered", "ringed"))
SHAPE = Factor("shape", ("circle", "square", "triangle"), ("star", "heart"))
BACKGROUND = Factor("background", ("sky", "sand", "night"), ("sunset", "grid"))
OBJECT = Factor("object", ("ball", "box", "kite"), ("moon", "flower"))

FACTORS: tuple[Factor, ...] = (COLOR, TEXTURE, SHAPE, BACKGROUND, OBJECT)
FACTOR_BY_NAME: Mapping[str, Factor] = MappingProxyType({factor.name: factor for factor in FACTORS})
CONCEPTS: tuple[str, ...] = tuple(concept for factor in FACTORS for concept in factor.concepts)
FACTOR_OF_CONCEPT: Mapping[str, Factor] = MappingProxyType(
    {concept: factor for factor in FACTORS for concept in factor.concepts}
)

Scene = Mapping[str, str]
"""One value for each factor, by the factor's name."""


def caption(scene: Scene) -> str:
    """The sentence that describes a scene: "a red striped circle on sky with ball".

    A factor that the scene does not hold is not named: "a red circle with ball".
    """
    before = {BACKGROUND.name: "on ", OBJECT.name: "with "}
    said = [before.get(factor.name, "") + scene[factor.name] for factor in FACTORS if factor.name in scene]
    return " ".join(("a", *said))


def vocabulary() -> tuple[str, ...]:
    """Every word that a caption can hold."""
    return ("a", "on", "with", *(value for factor in FACTORS for value in factor.values))


def named_values(text: str) -> dict[str, str]:
    """The values a prompt names, by factor: ``{"shape": "star", …}``. The last word of a factor counts."""
    words = text.lower().replace(",", " ").split()
    return {factor.name: word for word in words for factor in FACTORS if word in factor.values}


def random_scene(
    random: np.random.Generator, allowed: Mapping[str, Iterable[str]] | None = None
) -> dict[str, str]:
    """A scene with a random value for each factor, from ``allowed`` or else from what the base knows."""
    allowed = allowed or {}
    return {
        factor.name: str(random.choice(tuple(allowed.get(factor.name, factor.known)))) for factor in FACTORS
    }
