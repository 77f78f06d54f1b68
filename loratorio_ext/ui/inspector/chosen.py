"""Which networks acted at which step, where not all of them did at all steps."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from loratorio_ext.plots.colours import network_colour
from loratorio_ext.server.words import Words
from loratorio_ext.ui.inspector.looked import Looked
from loratorio_ext.ui.inspector.maps_html import chip
from loratorio_ext.ui.inspector.steps import spans
from loratorio_ext.ui.inspector.weights import Shown

# Above this number of steps cells are too thin for gaps between them.
SEPARATE_CELLS: Final = 60


def chosen_html(looked: Looked, shown: Shown, words: Words) -> str:
    """A row for each network, a filled cell for each step at which it acted; nothing if all always did."""
    acted = [
        frozenset(step.chosen[looked.image]) if looked.image < len(step.chosen) else frozenset[str]()
        for step in looked.steps
    ]
    report = looked.report
    composing = [names for names, step in zip(acted, looked.steps, strict=True) if step.mode != "base"]
    if report is None or all(names >= set(report.composed) for names in composing):
        return ""
    rows = []
    for index in shown.speaking:
        name = shown.names[index]
        steps = [number for number, names in enumerate(acted, 1) if name in names]
        rows.append(
            f'<tr><th scope="row"><span>{chip(shown.letter(index), index)}<span>{escape(name)}</span></span>'
            f"</th><td>{_cells(steps, looked, network_colour(index))}</td>"
            f"<td>{escape(_said(steps, len(acted), words))}</td></tr>"
        )
    scans = [number for number, step in enumerate(looked.steps, 1) if step.scan]
    if 0 < len(scans) < len(acted):
        rows.append(
            f'<tr class="scans"><th scope="row">{escape(words("all were compared"))}</th>'
            f"<td>{_cells(scans, looked, 'currentColor')}</td>"
            f"<td>{escape(_said(scans, len(acted), words))}</td></tr>"
        )
    never = ""
    if shown.silent:
        text = words("Never chosen: {names}", names=shown.silent_names)
        never = f'<p class="note">{escape(text)}</p>'
    about = words("Filled: the network was chosen at this step and could act. From left to right: the steps.")
    return (
        f"<section><h3>{escape(words('Chosen networks'))}</h3>"
        f'<p class="note">{escape(about)}</p><div class="scroll"><table class="chosen"><thead><tr>'
        f'<th scope="col">{escape(words("network"))}</th><th scope="col">{escape(words("steps"))}</th>'
        f'<th scope="col">{escape(words("chosen at"))}</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{never}</section>"
    )


def _cells(steps: Sequence[int], looked: Looked, colour: str) -> str:
    """The steps as a strip; what it shows stands in words beside it."""
    count = len(looked.steps)
    gap = 0.12 if count <= SEPARATE_CELLS else 0.0
    stretches = [(step, step) for step in steps] if gap else spans(steps)
    cells = "".join(
        f'<rect x="{first - 1 + gap / 2:g}" y="0" width="{last - first + 1 - gap:g}" height="1"/>'
        for first, last in stretches
    )
    mark = f'<rect class="mark" x="{looked.step - 1}" y="0" width="1" height="1"/>' if looked.step else ""
    return (
        f'<svg class="cells" viewBox="0 0 {count} 1" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="ground" x="0" y="0" width="{count}" height="1"/>'
        f'<g style="fill:{colour}">{cells}</g>{mark}</svg>'
    )


def _said(steps: Sequence[int], count: int, words: Words) -> str:
    if not steps:
        return words("no step")
    if len(steps) == count:
        return words("all steps")
    stretches = spans(steps)
    said = [f"{first}" if first == last else f"{first}–{last}" for first, last in stretches[:6]]
    text = ", ".join(said) + (", …" if len(stretches) > len(said) else "")
    return words("{steps} ({some} of {count})", steps=text, some=len(steps), count=count)
