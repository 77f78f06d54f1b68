"""Pictures of what a run did: heat maps of weights, maps over a picture, strips over the steps, sheets."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops, ImageDraw, ImageFont, ImageOps

from loratorio_ext.plots.colors import Floats, network_color, ramp, rgb

Maps = npt.NDArray[Any]
PAPER = (255, 255, 255)
INK = (32, 34, 40)


@dataclass(frozen=True)
class Scale:
    """The range of values that a heat map's colors stand for."""

    low: float
    high: float

    def place(self, values: Maps) -> Floats:
        """`values` as 0 (low) .. 1 (high); outside values and NaN are clipped, NaN as low."""
        span = self.high - self.low
        placed = (np.asarray(values, dtype=np.float64) - self.low) / (span if span > 0 else 1.0)
        return np.clip(np.nan_to_num(placed, nan=0.0), 0.0, 1.0)


def scale_of(maps: Sequence[Maps]) -> Scale:
    """One scale for all `maps`, rounded out to steps of 0.05; 0..1 where there is nothing to measure."""
    joined = np.concatenate([np.zeros(0), *(np.ravel(part) for part in maps)])
    joined = joined[np.isfinite(joined)]
    if not joined.size:
        return Scale(0.0, 1.0)
    # The extreme half per cent at each end would flatten all the rest.
    low, high = np.quantile(joined, (0.005, 0.995)) * 20
    return Scale(np.floor(low) / 20, max(np.ceil(high) / 20, np.floor(low) / 20 + 0.05))


def heat(values: Maps, scale: Scale, size: tuple[int, int]) -> Image.Image:
    """A map [h, w] as an RGB picture of `size` (width, height), every patch a sharp rectangle."""
    index = np.rint(255 * scale.place(values)).astype(np.intp)
    return Image.fromarray(ramp()[index]).resize(size, Image.Resampling.NEAREST)


def overlay(picture: Image.Image, values: Maps, scale: Scale, size: tuple[int, int]) -> Image.Image:
    """The map [h, w] laid over the picture: colors say the weight, light and dark say the drawing."""
    # Dark and flat pictures are stretched, then all are toned down: the map must win over the drawing.
    grey = ImageOps.autocontrast(picture.convert("L"), cutoff=1).resize(size, Image.Resampling.NEAREST)
    shade = grey.point([175 + 80 * level // 255 for level in range(256)]).convert("RGB")
    shaded = ImageChops.multiply(heat(values, scale, size), shade)
    # A breath of the drawing itself, so that it can be made out where the map is dark.
    return Image.blend(shaded, grey.convert("RGB"), 0.14)


def territories(picture: Image.Image, maps: Maps, size: tuple[int, int]) -> Image.Image:
    """Who speaks loudest where: each patch in its strongest network's color.

    `maps` [N, h, w] are weights. The color is the stronger the further the weight is above 1/N, which is
    what every network would have if none stood out.
    """
    values = np.nan_to_num(np.asarray(maps, dtype=np.float64))
    count = values.shape[0]
    colors = np.array([rgb(network_color(index)) for index in range(count)], dtype=np.uint8)
    margin = values.max(axis=0) - 1.0 / count
    # Differences too small to matter leave the picture grey instead of being blown up.
    strength = np.clip(margin / max(float(margin.max()), 0.05), 0.0, 1.0) * 0.8
    alpha = Image.fromarray(np.rint(255 * strength).astype(np.uint8))
    layers = (Image.fromarray(colors[values.argmax(axis=0)]), picture.convert("L").convert("RGB"), alpha)
    return Image.composite(*(layer.resize(size, Image.Resampling.NEAREST) for layer in layers))


def strip(maps: Maps, scale: Scale, tile: int, gap: int = 2) -> Image.Image:
    """Maps [steps, h, w] side by side, first step left; tiles `tile` pixels wide on a clear ground."""
    steps, height, width = maps.shape
    tall = max(1, round(tile * height / width))
    sheet = Image.new("RGBA", (steps * (tile + gap) - gap, tall), (0, 0, 0, 0))
    for step in range(steps):
        sheet.paste(heat(maps[step], scale, (tile, tall)), (step * (tile + gap), 0))
    return sheet


def contact_sheet(
    rows: Sequence[tuple[str, Sequence[Image.Image]]], columns: Sequence[str], tile: int
) -> Image.Image:
    """Pictures in labelled rows and columns on white, as one RGB picture; `tile` is a picture's width."""
    font = ImageFont.load_default(size=max(12, tile // 11))
    gap, head = max(4, tile // 24), max(20, tile // 5)
    side = round(max((font.getlength(label) for label, _ in rows), default=0)) + 3 * gap
    tall = max((round(tile * p.height / p.width) for _, pictures in rows for p in pictures), default=tile)
    wide = max((len(pictures) for _, pictures in rows), default=0)
    size = (side + wide * (tile + gap) + gap, head + len(rows) * (tall + gap) + gap)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, label in enumerate(columns):
        middle = side + column * (tile + gap) + tile // 2
        draw.text((middle, head // 2), label, INK, font, anchor="mm")
    for row, (label, pictures) in enumerate(rows):
        top = head + row * (tall + gap)
        draw.text((2 * gap, top + tall // 2), label, INK, font, anchor="lm")
        for column, picture in enumerate(pictures):
            place = (side + column * (tile + gap), top)
            sheet.paste(picture.convert("RGB").resize((tile, tall), Image.Resampling.NEAREST), place)
    return sheet


def png(picture: Image.Image, *, optimize: bool = False) -> bytes:
    """The picture as a PNG; optimizing takes longer and saves a little."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=optimize)
    return buffer.getvalue()


def data_uri(picture: Image.Image) -> str:
    """The picture as a PNG inside a `data:` address, for a page that needs no other file."""
    return "data:image/png;base64," + base64.b64encode(png(picture, optimize=True)).decode("ascii")
