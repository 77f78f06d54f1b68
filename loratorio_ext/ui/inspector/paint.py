"""Who spoke where, as a picture: colours over the drawing, and a letter in each network's territory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from loratorio_ext.plots.colours import network_colour
from loratorio_ext.plots.pictures import territories
from loratorio_ext.ui.inspector.lettering import badge
from loratorio_ext.ui.inspector.weights import Floats, Shown

PAGE_SIDE: Final = 512
# Smaller pictures are enlarged without blur, so that letters have room.
SMALLEST_SIDE: Final = 384
# What stands out less than this part of the most is left nearly grey, and gets no letter.
_FAINT: Final = 0.2


def page_size(picture: Image.Image, side: int = PAGE_SIDE) -> Image.Image:
    """The picture for the page: its longest side at most `side` pixels, and not much smaller."""
    longest = max(picture.size)
    if longest < SMALLEST_SIDE <= side:
        times = -(-SMALLEST_SIDE // longest)
        return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


def who_spoke(picture: Image.Image, maps: Floats, shown: Shown, strength: float) -> Image.Image:
    """The strongest network of each place in its colour, with its letter.

    Args:
        picture: RGB.
        maps: weights [N, h, w] of the drawn networks and, if there are others, of the loudest of these.
        shown: the drawn networks.
        strength: 0: the picture alone … 1: colours on grey.

    Returns:
        RGB, of the picture's size.
    """
    painted = Image.blend(picture, territories(picture, maps, picture.size), strength)
    if strength > 0:
        side = max(16, min(painted.size) // 14)
        for index, (x, y) in _middles(maps):
            letter = shown.letter(index) if index < len(shown.names) else "+"
            disc = badge(letter, network_colour(index), side)
            place = (
                min(max(0, round(x * painted.width) - side // 2), max(0, painted.width - side)),
                min(max(0, round(y * painted.height) - side // 2), max(0, painted.height - side)),
            )
            painted.paste(disc, place, disc)
    return painted


def _middles(maps: Floats) -> Iterator[tuple[int, tuple[float, float]]]:
    """For each network that is loudest somewhere: a place well inside its widest territory, x and y 0 … 1."""
    count, height, width = maps.shape
    loudest = maps.argmax(axis=0)
    margin = maps.max(axis=0) - 1 / count
    clear = margin > _FAINT * max(float(margin.max()), 0.05)
    for index in range(count):
        own = (loudest == index) & clear
        if own.any():
            yield index, _inside(own, height, width)


def _inside(own: npt.NDArray[np.bool_], height: int, width: int) -> tuple[float, float]:
    # How often a patch outlives the removal of the rim says how far it is from the border.
    depth = np.zeros((height, width), dtype=np.int64)
    while own.any():
        depth += own
        padded = np.pad(own, 1)
        own = own & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    rows, columns = np.nonzero(depth == depth.max())
    nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
    return (float(columns[nearest]) + 0.5) / width, (float(rows[nearest]) + 0.5) / height
