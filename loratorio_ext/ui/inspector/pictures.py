"""Who spoke where, as a picture: colors over the drawing, a letter in each territory, and a legend below.

Works with the Pillow 9 of AUTOMATIC1111's WebUI too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from loratorio_ext.plots.colors import network_color, rgb
from loratorio_ext.plots.pictures import INK, PAPER, territories
from loratorio_ext.run import Report
from loratorio_ext.server.words import Words
from loratorio_ext.ui.inspector.selection import STRENGTH, Floats, Networks, mean_maps, networks_in, shortened

Color = tuple[int, int, int]
PAGE_SIDE: Final = 512
# Smaller pictures are enlarged without blur, so that letters have room.
SMALLEST_SIDE: Final = 384
LONGEST_NAME: Final = 60
# What stands out less than this part of the most is left nearly grey, and gets no letter.
_FAINT: Final = 0.2
# What Linux, Windows and macOS usually have.
_COMMON_FONTS: Final = ("DejaVuSans.ttf", "arial.ttf", "Arial.ttf", "Helvetica.ttc")


def page_size(picture: Image.Image, side: int = PAGE_SIDE) -> Image.Image:
    """The picture for the page: its longest side at most `side` pixels, and not much smaller."""
    longest = max(picture.size)
    if longest < SMALLEST_SIDE <= side:
        times = -(-SMALLEST_SIDE // longest)
        return picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


def who_spoke(
    picture: Image.Image, maps: Floats, networks: Networks, strength: float
) -> tuple[Image.Image, list[float]]:
    """The strongest network of each place in its color, with its letter.

    Args:
        picture: RGB.
        maps: weights [N, h, w] of all composed networks.
        networks: those that are drawn; if there are others, the loudest of them stands for all others.
        strength: 0: the picture alone … 1: colors on grey.

    Returns:
        RGB, of the picture's size; and the part of it in which each drawn network, and all others together,
        are the loudest, 0 … 1.
    """
    others = np.delete(maps, list(networks.places), axis=0)
    maps = maps[list(networks.places)]
    if networks.left_out:
        maps = np.concatenate([maps, others.max(axis=0, keepdims=True)])
    painted = Image.blend(picture, territories(picture, maps, picture.size), strength)
    if strength > 0:
        side = max(16, min(painted.size) // 14)
        for index, (x, y) in _middles(maps):
            disc = badge(networks.letter(index), network_color(index), side)
            left = min(max(0, round(x * painted.width) - side // 2), max(0, painted.width - side))
            top = min(max(0, round(y * painted.height) - side // 2), max(0, painted.height - side))
            painted.paste(disc, (left, top), disc)
    loudest = np.where(maps.max(axis=0) > 0, maps.argmax(axis=0), -1)  # where no network acts, none is
    return painted, [float((loudest == place).mean()) for place in range(len(maps))]


def overlay_with_legend(picture: Image.Image, report: Report, image: int, words: Words) -> Image.Image | None:
    """Who spoke where, mean over the steps, with the networks' names and shares below.

    Args:
        picture: any mode and size; one below 384 pixels is enlarged, so that its legend can be read.
        report: the pass that drew it.
        image: its place in the batch, from 0.
        words: the language.

    Returns:
        RGB, as wide as the picture; None where no step has a map of it.
    """
    maps = mean_maps(report.steps, image)
    if maps is None:
        return None
    networks = networks_in(report, image)
    ground = picture.convert("RGB")
    if max(ground.size) < SMALLEST_SIDE:
        ground = page_size(ground)
    painted, parts = who_spoke(ground, maps, networks, STRENGTH)
    return with_legend(painted, networks, parts, words)


def with_legend(painted: Image.Image, networks: Networks, parts: list[float], words: Words) -> Image.Image:
    """A picture with a strip below: each network's letter, color, name and part of the picture, 0 … 1."""
    row = min(max(20, min(painted.size) // 18), 56)
    gap = row // 4
    names = [*networks.names, *([words("all others")] if networks.left_out else [])]
    entries: list[tuple[Image.Image, int, int]] = []
    x, y = gap, gap
    for index, (name, part) in enumerate(zip(names, parts, strict=True)):
        if index in networks.silent:
            continue
        disc = badge(networks.letter(index), network_color(index), row)
        entry = _entry(disc, f"{shortened(name, LONGEST_NAME)} {part:.0%}", painted.width - 2 * gap)
        if x > gap and x + entry.width > painted.width - gap:
            x, y = gap, y + row + gap
        entries.append((entry, x, y))
        x += entry.width + 3 * gap
    sheet = Image.new("RGB", (painted.width, painted.height + y + row + gap), PAPER)
    sheet.paste(painted, (0, 0))
    for entry, left, top in entries:
        sheet.paste(entry, (left, painted.height + top))
    return sheet


def badge(letter: str, color: str, side: int) -> Image.Image:
    """A letter on a disc of the color with a white rim, RGBA, `side` × `side`."""
    large = 4 * side  # drawn large and made small: smooth edges
    disc = Image.new("RGBA", (large, large), (*PAPER, 0))
    draw = ImageDraw.Draw(disc)
    draw.ellipse((0, 0, large - 1, large - 1), (*PAPER, 255))
    rim = large // 12
    draw.ellipse((rim, rim, large - 1 - rim, large - 1 - rim), (*rgb(color), 255))
    mask = text_mask(letter, round(large * 0.62))
    mask = mask.crop(mask.getbbox() or (0, 0, mask.width, mask.height))
    place = ((large - mask.width) // 2, (large - mask.height) // 2)
    disc.paste((*ink_on(color), 255), place, mask)
    return disc.resize((side, side), Image.Resampling.LANCZOS)


def ink_on(color: str) -> Color:
    """Black or white, whichever has more contrast on a color "#rrggbb" (WCAG 2.2's contrast ratio)."""

    def luminance(color: Color) -> float:
        red, green, blue = (float((part / 255) ** 2.2) for part in color)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    def contrast(ink: Color) -> float:
        darker, lighter = sorted((luminance(rgb(color)), luminance(ink)))
        return (lighter + 0.05) / (darker + 0.05)

    return max((INK, PAPER), key=contrast)


def text_mask(text: str, height: int) -> Image.Image:
    """The text as a mask ("L", white on black), its lines `height` pixels high."""
    font, shown = _font(round(height * 0.8)), text
    if not isinstance(font, ImageFont.FreeTypeFont):
        shown = text.encode("latin-1", "replace").decode("latin-1")
    left, _, right, _ = font.getbbox(shown or " ")
    _, top, _, bottom = font.getbbox("Ag|")
    mask = Image.new("L", (max(1, round(right - left)), max(1, round(bottom - top))))
    ImageDraw.Draw(mask).text((-left, -top), shown, 255, font)
    width = max(1, round(mask.width * height / mask.height))
    return mask.resize((width, height), Image.Resampling.LANCZOS)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.load_default(size=size)
    except TypeError:  # before Pillow 10.1 its own font has one small size and Latin letters alone
        for name in _COMMON_FONTS:
            with suppress(OSError):  # this system has another one
                return ImageFont.truetype(name, size)
        return ImageFont.load_default()


def _entry(disc: Image.Image, text: str, widest: int) -> Image.Image:
    """A badge and its text on white, RGB, at most `widest` pixels wide."""
    side = disc.height
    mask = text_mask(text, round(side * 0.8))
    room = max(1, widest - side - side // 3)
    if mask.width > room:
        mask = mask.resize((room, mask.height), Image.Resampling.LANCZOS)
    entry = Image.new("RGB", (side + side // 3 + mask.width, side), PAPER)
    entry.paste(disc, (0, 0), disc)
    entry.paste(INK, (side + side // 3, (side - mask.height) // 2), mask)
    return entry


def _middles(maps: Floats) -> Iterator[tuple[int, tuple[float, float]]]:
    """For each network that is loudest somewhere: a place well inside its widest territory, x and y 0 … 1."""
    count, height, width = maps.shape
    loudest = maps.argmax(axis=0)
    margin = maps.max(axis=0) - 1 / count
    clear = margin > _FAINT * max(float(margin.max()), 0.05)
    for index in range(count):
        own = (loudest == index) & clear
        # How often a patch outlives the removal of the rim says how far it is from the border.
        depth = np.zeros((height, width), dtype=np.int64)
        while own.any():
            depth += own
            padded = np.pad(own, 1)
            own = own & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        if depth.any():
            rows, columns = np.nonzero(depth == depth.max())
            nearest = np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2)
            yield index, ((float(columns[nearest]) + 0.5) / width, (float(rows[nearest]) + 0.5) / height)
