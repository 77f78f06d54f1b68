"""The testbed's two halves and how their pictures are drawn. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

SAMPLER: Final = "DPM++ 2M"
STRENGTH: Final = 0.8
"""Of every network, in the UNet and in the text encoder."""

NETWORKS: Final = (2, 3, 4, 5)
"""N, the numbers of networks in a picture."""


@dataclass(frozen=True)
class Style:
    """One half of the testbed; figures from compose_anime.sh and compose_reality.sh of its repository.

    Attributes:
        name: "anime" or "reality"; its networks lie in a folder of this name.
        base: the hub's name of the model that it is drawn with.
        autoencoder: the hub's name of the autoencoder that replaces the model's own, or None.
        steps: of the sampler.
        cfg: guidance scale.
        width: pixels.
        height: pixels.
    """

    name: str
    base: str
    autoencoder: str | None
    steps: int
    cfg: float
    width: int
    height: int


STYLES: Final[Mapping[str, Style]] = MappingProxyType(
    {
        "anime": Style("anime", "gsdf/Counterfeit-V2.5", None, 200, 10.0, 512, 512),
        "reality": Style(
            "reality",
            "SG161222/Realistic_Vision_V5.1_noVAE",
            "stabilityai/sd-vae-ft-mse",
            100,
            7.0,
            768,
            1024,
        ),
    }
)
