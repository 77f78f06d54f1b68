"""The picture of who spoke where for beside the others in a gallery: its legend is part of it."""

from __future__ import annotations

from typing import Final

from PIL import Image

from loratorio_ext.plots.colours import network_colour
from loratorio_ext.plots.pictures import INK, PAPER
from loratorio_ext.run import Report
from loratorio_ext.server.words import Words
from loratorio_ext.ui.inspector.lettering import badge, text_mask
from loratorio_ext.ui.inspector.looked import Choice
from loratorio_ext.ui.inspector.paint import SMALLEST_SIDE, page_size, who_spoke
from loratorio_ext.ui.inspector.weights import Shown, maps_of, shares, shown_networks, with_others

LONGEST_NAME: Final = 60


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
    steps = report.steps
    maps = maps_of(steps, image)
    if maps is None:
        return None
    shown = shown_networks(report, steps, image)
    ground = picture.convert("RGB")
    if max(ground.size) < SMALLEST_SIDE:
        ground = page_size(ground)
    drawn = with_others(maps, shown)
    painted = who_spoke(ground, drawn, shown, Choice().strength)
    return with_legend(painted, shown, shares(drawn), words)


def with_legend(painted: Image.Image, shown: Shown, parts: list[float], words: Words) -> Image.Image:
    """A picture with a strip below: each network's letter, colour, name and part of the picture, 0 … 1."""
    row = min(max(20, min(painted.size) // 18), 56)
    gap = row // 4
    names = [*shown.names, *([words("all others")] if shown.left_out else [])]
    entries = []
    for index, (name, part) in enumerate(zip(names, parts, strict=True)):
        if index in shown.silent:
            continue
        letter = shown.letter(index) if index < len(shown.names) else "+"
        short = name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
        entries.append(
            _entry(badge(letter, network_colour(index), row), f"{short} {part:.0%}", painted.width - 2 * gap)
        )
    places: list[tuple[int, int]] = []
    x, y = gap, gap
    for entry in entries:
        if x > gap and x + entry.width > painted.width - gap:
            x, y = gap, y + row + gap
        places.append((x, y))
        x += entry.width + 3 * gap
    sheet = Image.new("RGB", (painted.width, painted.height + y + row + gap), PAPER)
    sheet.paste(painted, (0, 0))
    for entry, (left, top) in zip(entries, places, strict=True):
        sheet.paste(entry, (left, painted.height + top))
    return sheet


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
