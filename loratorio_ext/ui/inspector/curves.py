"""The course of weight and of distance from the base over the steps, as two charts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from loratorio_ext.plots.charts import Labels, line_chart
from loratorio_ext.server.words import Words
from loratorio_ext.ui.inspector.looked import Looked
from loratorio_ext.ui.inspector.steps import means
from loratorio_ext.ui.inspector.weights import Shown, series

# What has room at the end of a line; the letter stands before it.
LONGEST_NAME: Final = 9


def curves_html(looked: Looked, shown: Shown, words: Words) -> str:
    """Both charts, the step that is looked at marked; nothing where no step has numbers."""
    places = [shown.places[index] for index in shown.speaking]
    weights = series(looked.steps, looked.image, places, "weight")
    similarity = series(looked.steps, looked.image, places, "similarity")
    distance = [[None if value is None else 1 - value for value in line] for line in similarity]
    charts = []
    if _known(weights):
        title = words("Mean weight at each step")
        about = words("How much of the picture's change each network had, from 0 to 1.")
        guide = 1 / (len(shown.names) + shown.left_out)
        charts.append(_chart(looked, shown, weights, (title, about), guide, words))
    if _known(distance):
        title = words("Distance from the base at each step (1 − similarity)")
        about = words("How far each network's prediction is from the base model's; 0: they agree.")
        charts.append(_chart(looked, shown, distance, (title, about), None, words))
    if not charts:
        return ""
    return (
        f"<section><h3>{escape(words('Step by step'))}</h3>"
        f'<div class="charts">{"".join(charts)}</div></section>'
    )


def _known(lines: Sequence[Sequence[float | None]]) -> bool:
    return any(value is not None for line in lines for value in line)


def _chart(
    looked: Looked,
    shown: Shown,
    lines: Sequence[Sequence[float | None]],
    texts: tuple[str, str],
    guide: float | None,
    words: Words,
) -> str:
    title, about = texts
    said = ", ".join(
        f"{shown.letter(index)} {shown.names[index]} {mean:.3g}"
        for index, mean in zip(shown.speaking, means(lines), strict=True)
        if mean is not None
    )
    svg = line_chart(
        [f"{shown.letter(index)} {_short(shown.names[index])}" for index in shown.speaking],
        lines,
        title=words("{title}. Means over the steps: {means}", title=title, means=said),
        guide=guide,
        slots=shown.speaking,
        mark=looked.step - 1 if looked.step else None,
        labels=Labels(
            words("step {step}", step=1), words("step {step}", step=len(looked.steps)), words("all equal")
        ),
    )
    return f'<div><h4>{escape(title)}</h4><p class="note">{escape(about)}</p>{svg}</div>'


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
