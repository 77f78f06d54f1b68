"""What every way brings against what it costs, as a picture: presence of the concepts over rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from types import MappingProxyType
from typing import Any, Final

from loratorio_ext.plots.charts import spread

WIDTH: Final = 360
HEIGHT: Final = 300
LEFT, RIGHT, TOP, BOTTOM = 44, 128, 34, 40
_STYLE: Final = (
    "text{font:11px sans-serif;fill:#333}.title{font-weight:600;font-size:12px}.end{text-anchor:end}"
    ".middle{text-anchor:middle}.level{stroke:#ddd}.error{stroke-width:1.4}.way{stroke:none}"
    ".looks{fill:none;stroke:#c2410c;stroke-width:1.6}"
)
_LABEL_GAP: Final = 13.0
_LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "merge": "Merge",
        "switch": "Switch",
        "composite": "Composite",
        "loratorio": "LoRAtorio",
        "loratorio-fast": "one look",
        "loratorio-every-step": "every step",
        "attention-masks": "hard masks",
        "regional": "true masks",
    }
)
"""What ways are called beside their points, where that is not their name."""


def curve(cells: Sequence[Mapping[str, Any]], figure: str = "presence") -> str:
    """An SVG with a panel for each number of networks: a point with its standard error for each way.

    Ways that differ in nothing but the number of looks are joined by a line.

    Args:
        cells: of an evaluation's results: "arm", "networks", "ratio" (× the rows of plain generation), and
            the figure as an object with "mean" and "error".
        figure: which figure of the cells.
    """
    panels: dict[int, list[Mapping[str, Any]]] = {}
    for cell in cells:
        panels.setdefault(int(cell["networks"]), []).append(cell)
    parts = [
        f'<g transform="translate({WIDTH * place} 0)">{_panel(networks, panels[networks], figure)}</g>'
        for place, networks in enumerate(sorted(panels))
    ]
    wide = WIDTH * len(panels)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {HEIGHT}" width="{wide}" '
        f'height="{HEIGHT}"><style>{_STYLE}</style><rect width="100%" height="100%" fill="#fff"/>'
        f"{''.join(parts)}</svg>\n"
    )


def _panel(networks: int, cells: Sequence[Mapping[str, Any]], figure: str) -> str:
    most = max(1.5, *(float(cell["ratio"]) for cell in cells))
    low = min(float(cell[figure]["mean"]) for cell in cells)
    bottom = max(0.0, int(low * 10 - 0.5) / 10)
    wide, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x(ratio: float) -> float:
        return LEFT + wide * (ratio - 1) / (most - 1)

    def y(share: float) -> float:
        return TOP + tall * (1 - (share - bottom) / (1 - bottom))

    title = "1 network" if networks == 1 else f"{networks} networks"
    parts = [f'<text x="{LEFT}" y="18" class="title">{title}</text>']
    for tenth in range(round(bottom * 10), 11, 1 if bottom > 0.5 else 2):
        level = y(tenth / 10)
        parts.append(
            f'<line x1="{LEFT}" x2="{LEFT + wide}" y1="{level:.1f}" y2="{level:.1f}" class="level"/>'
        )
        parts.append(f'<text x="{LEFT - 6}" y="{level + 4:.1f}" class="end">{tenth / 10:.1f}</text>')
    parts += [
        f'<text x="{x(ratio):.1f}" y="{HEIGHT - 22}" class="middle">{ratio} ×</text>'
        for ratio in range(1, int(most) + 1)
    ]
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 6}">rows, as a multiple of plain generation</text>')
    looks = sorted((one for one in cells if _of_looks(one["arm"])), key=lambda one: float(one["ratio"]))
    points = " ".join(f"{x(one['ratio']):.1f},{y(one[figure]['mean']):.1f}" for one in looks)
    parts.append(f'<polyline points="{points}" class="looks"/>' if len(looks) > 1 else "")
    heights = spread([y(one[figure]["mean"]) for one in cells], _LABEL_GAP, TOP, TOP + tall)
    for cell, height in zip(cells, heights, strict=True):
        at, mean, error = x(cell["ratio"]), cell[figure]["mean"], cell[figure]["error"] or 0.0
        color = "#c2410c" if _of_looks(cell["arm"]) else "#1d4ed8" if "loratorio" in cell["arm"] else "#555"
        ends = f'y1="{y(mean - error):.1f}" y2="{y(mean + error):.1f}"'
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" {ends} stroke="{color}" class="error"/>')
        parts.append(f'<circle cx="{at:.1f}" cy="{y(mean):.1f}" r="3.4" fill="{color}" class="way"/>')
        way, _, swept = str(cell["arm"]).partition(" ")
        label = re.sub("^looks=(.*)", r"\1 looks", swept) if "loratorio" in way else ""
        name = escape(label or _LABELS.get(str(cell["arm"]), str(cell["arm"])))
        ends = f'y1="{y(mean):.1f}" y2="{height:.1f}"'
        parts.append(
            f'<line x1="{at + 4:.1f}" x2="{LEFT + wide + 4}" {ends} class="level"/>'
            f'<text x="{LEFT + wide + 6}" y="{height + 4:.1f}" style="fill:{color}">{name}</text>'
        )
    return "".join(parts)


def _of_looks(arm: str) -> bool:
    return arm in ("loratorio", "loratorio-fast", "loratorio-every-step") or "looks=" in arm
