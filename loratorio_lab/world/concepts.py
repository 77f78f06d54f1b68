"""The words of the embedded world: what a picture can hold, and which of it only a network can draw."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np

from loratorio_ext.cli.judge import FACTORS, Factor

FACTOR_BY_NAME: Final[Mapping[str, Factor]] = MappingProxyType({factor.name: factor for factor in FACTORS})
CONCEPTS: Final = tuple(concept for factor in FACTORS for concept in factor.concepts)
FACTOR_OF_CONCEPT: Final[Mapping[str, Factor]] = MappingProxyType(
    {concept: factor for factor in FACTORS for concept in factor.concepts}
)

Scene = Mapping[str, str]
"""One value for each factor, by the factor's name."""


def caption(scene: Scene) -> str:
    """The sentence that describes a scene: "a red striped circle on sky with ball".

    A factor that the scene does not hold is not named: "a red circle with ball".
    """
    before = {"background": "on ", "object": "with "}
    said = [before.get(factor.name, "") + scene[factor.name] for factor in FACTORS if factor.name in scene]
    return " ".join(("a", *said))


def vocabulary() -> tuple[str, ...]:
    """Every word that a caption can hold."""
    return ("a", "on", "with", *(value for factor in FACTORS for value in factor.values))


def random_scene(
    random: np.random.Generator, allowed: Mapping[str, Iterable[str]] | None = None
) -> dict[str, str]:
    """A scene with a random value for each factor, from ``allowed`` or else from what the base knows."""
    allowed = allowed or {}
    return {
        factor.name: str(random.choice(tuple(allowed.get(factor.name, factor.known)))) for factor in FACTORS
    }
