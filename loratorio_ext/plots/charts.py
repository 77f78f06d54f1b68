"""Line charts as inline SVG: one line for each network over the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from loratorio_ext.plots.colors import network_color

WIDTH: Final = 480
HEIGHT: Final = 240
LEFT, RIGHT, TOP, BOTTOM = 62, 124, 14, 34
# Lines differ in their dashes too, for readers and printers without colors.
DASHES: Final = ("none", "7 3", "2 3", "9 3 2 3", "4 2", "1 4", "12 4", "3 6")
LABEL_GAP: Final = 15.0

Series = Sequence[float | None]


def nice_top(value: float) -> float:
    """The next of 1, 1.5, 2, 3, 4, 5, 7.5, 10 times a power of ten that is not below `value`."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.5, 2, 3, 4, 5, 7.5, 10) if step * power >= value * 0.999999)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the wanted ones, in the same order, at least `gap` apart, within low..high if they fit."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    placed = [0.0] * len(wanted)
    last = low - gap
    for index in order:
        last = placed[index] = max(wanted[index], last + gap)
    over = max(0.0, last - high)
    ceiling = high + gap
    for index in reversed(order if over else []):
        ceiling = placed[index] = min(placed[index], ceiling - gap)
    return placed


def line_chart(
    names: Sequence[str],
    series: Sequence[Series],
    *,
    title: str,
    axis: tuple[str, str],
    guide: tuple[float, str] | None = None,
    mark: int | None = None,
    slots: Sequence[int] | None = None,
    gaps: bool = True,
) -> str:
    """An SVG of `series` (one value a step, None where there is none), named at the line's end.

    `axis` is what stands below the first and the last step; the other axis begins at 0. `guide` is a faint
    level and its name, such as the weight that every network would have if none stood out. `mark` is a step,
    counted from 0, at which an upright line stands. `slots` says which color and dash each line has where
    that is not its place in the list. Without `gaps`, lines go on over steps that have no value.
    """
    known = [value for line in series for value in line if value is not None]
    steps = max((len(line) for line in series), default=0)
    top = nice_top(max([*known, guide[0] if guide else 0.0]))
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def x(step: int) -> float:
        return LEFT + (right - LEFT) * (step / (steps - 1) if steps > 1 else 0.5)

    def y(value: float) -> float:
        return TOP + (bottom - TOP) * (1 - value / top)

    def level(value: float, kind: str) -> str:
        return f'<line x1="{LEFT}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}" class="{kind}"/>'

    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}" class="chart">']
    for tick in (0.0, 0.5 * top, top):
        text = f'<text x="{LEFT - 7}" y="{y(tick) + 4:.1f}" class="axis end">{tick:g}</text>'
        parts += [level(tick, "level"), text]
    parts += [
        f'<text x="{LEFT}" y="{HEIGHT - 10}" class="axis">{escape(axis[0])}</text>',
        f'<text x="{right}" y="{HEIGHT - 10}" class="axis end">{escape(axis[1])}</text>',
    ]
    if mark is not None and 0 <= mark < steps:
        parts.append(f'<line x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="{TOP}" y2="{bottom}" class="mark"/>')
    if guide:
        parts.append(level(guide[0], "guide"))
    ends = [y(next((value for value in reversed(line) if value is not None), 0.0)) for line in series]
    heights = spread(ends, LABEL_GAP, TOP + 4, bottom)
    for index, (name, line) in enumerate(zip(names, series, strict=True)):
        slot = index if slots is None else slots[index]
        color, dash = network_color(slot), DASHES[slot % len(DASHES)]
        # The points of every unbroken part of the line.
        runs: list[list[str]] = [[]]
        for step, value in enumerate(line):
            if value is not None:
                runs[-1].append(f"{x(step):.1f},{y(value):.1f}")
            elif gaps:
                runs.append([])
        # A step that stands alone is drawn as a dot: a line to itself with round ends.
        parts += [
            f'<polyline points="{" ".join(run * 2 if len(run) == 1 else run)}" stroke="{color}"'
            f' stroke-dasharray="{dash}" class="line"/>'
            for run in runs
            if run
        ]
        parts.append(
            f'<text x="{right + 9}" y="{heights[index] + 4:.1f}" class="name">'
            f'<tspan fill="{color}">●</tspan> {escape(name)}</text>'
        )
    if guide:  # above the lines, which cross it
        place = f'x="{right - 4}" y="{y(guide[0]) - 5:.1f}"'
        parts.append(f'<text {place} class="axis end">{escape(guide[1])}</text>')
    return "".join([*parts, "</svg>"])
