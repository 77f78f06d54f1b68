"""Colors that color-blind people can tell apart: a ramp for quantities, a set for networks.

The ramp runs from deep blue to pale yellow, the pair of hues that all common kinds of color blindness
keep apart, and its lightness only ever rises, so it also reads in grey. It is mixed in OKLab
(B. Ottosson, 2020), where equal steps look equal.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

# Okabe and Ito's set (2008), in an order that keeps neighbours far apart in hue and in lightness.
NETWORKS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8A6FE8", "#7A7A7A")

STOPS: Final = ("#0b1030", "#17356f", "#3b6280", "#7d8a74", "#c9ad58", "#f6d977", "#fffbe0")

_TO_LMS: Final = (
    (0.4122214708, 0.5363325363, 0.0514459929),
    (0.2119034982, 0.6806995451, 0.1073969566),
    (0.0883024619, 0.2817188376, 0.6299787005),
)
_TO_LAB: Final = (
    (0.2104542553, 0.7936177850, -0.0040720468),
    (1.9779984951, -2.4285922050, 0.4505937099),
    (0.0259040371, 0.7827717662, -0.8086757660),
)


def network_color(index: int) -> str:
    """The color of network `index`, counted from 0, as "#rrggbb"; after eight networks they begin again."""
    return NETWORKS[index % len(NETWORKS)]


def rgb(color: str) -> tuple[int, int, int]:
    """Three numbers in 0..255 from "#rrggbb"."""
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def to_oklab(colors: npt.NDArray[Any]) -> Floats:
    """Turn sRGB in 0..255, [..., 3], into OKLab (lightness 0..1, green-red, blue-yellow), [..., 3]."""
    encoded = np.asarray(colors, dtype=np.float64) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    lab: Floats = np.cbrt(linear @ np.array(_TO_LMS).T) @ np.array(_TO_LAB).T
    return lab


def from_oklab(lab: Floats) -> Bytes:
    """The inverse of `to_oklab`, colors outside sRGB clipped; uint8, [..., 3]."""
    linear = (lab @ np.linalg.inv(np.array(_TO_LAB)).T) ** 3 @ np.linalg.inv(np.array(_TO_LMS)).T
    linear = np.clip(linear, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    colors: Bytes = np.rint(255 * encoded).astype(np.uint8)
    return colors


def ramp(steps: int = 256) -> Bytes:
    """The ramp as `steps` colors, dark (low) to light (high), uint8, [steps, 3]."""
    stops = to_oklab(np.array([rgb(stop) for stop in STOPS]))
    places = np.linspace(0, len(STOPS) - 1, steps)
    lab = np.stack([np.interp(places, np.arange(len(STOPS)), stops[:, axis]) for axis in range(3)], axis=-1)
    return from_oklab(lab)
