"""Step by step: what one step did, the charts of weight and distance, and which networks were chosen when."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from loratorio_ext.plots.charts import Labels, line_chart
from loratorio_ext.plots.colors import network_color
from loratorio_ext.run import StepReport
from loratorio_ext.server.words import Words
from loratorio_ext.ui.inspector.pictures import ink_on
from loratorio_ext.ui.inspector.selection import Networks, Selection, means, series

# What has room at the end of a line of a chart; the letter stands before it.
LONGEST_NAME: Final = 9
# Above this number of steps cells are too thin for gaps between them.
SEPARATE_CELLS: Final = 60

_Line = Sequence[float | None]


def named(networks: Networks, index: int, words: Words) -> str:
    """A network's letter on its color, and its name; the name says the same to a screen reader."""
    color = network_color(index)
    ink = "#{:02x}{:02x}{:02x}".format(*ink_on(color))
    name = networks.names[index] if index < len(networks.names) else words("all others")
    return (
        f'<span class="chip" aria-hidden="true" style="background:{color};color:{ink}">'
        f"{networks.letter(index)}</span><span>{escape(name)}</span>"
    )


def step_line(selection: Selection, words: Words) -> str:
    """The step that is looked at in one line, as plain text."""
    steps = selection.selected_steps
    if not selection.step:
        if len(steps) == 1:
            return words("The only step: {done}", done=_done(steps[0], words))
        return words("Mean over all {count} steps", count=len(steps))
    step = steps[0]
    return words(
        "Step {step} of {count}: {done} (rows: {rows}, model calls: {calls}, seconds: {seconds})",
        step=selection.step,
        count=len(selection.steps),
        done=_done(step, words),
        rows=step.rows,
        calls=step.calls,
        seconds=f"{step.seconds:.2f}",
    )


def _done(step: StepReport, words: Words) -> str:
    """What a step did with the networks, as plain text."""
    if step.reused:
        return words("what each network added before was added again")
    said = {
        "composed": words("composed place by place"),
        "placed": words("all networks at once, each where it spoke at the last full step"),
        "merged": words("networks merged the usual way"),
        "switch": words("one network at a time"),
        "composite": words("the plain mean of all networks"),
    }
    return said.get(step.mode) or words("the base model alone")


def curves_html(selection: Selection, networks: Networks, words: Words) -> str:
    """The course of weight and of distance from the base, the step that is looked at marked.

    Nothing where no step has numbers.
    """
    places = [networks.places[index] for index in networks.speaking]
    weights = series(selection.steps, selection.image, places, "weight")
    similarity = series(selection.steps, selection.image, places, "similarity")
    distance = [[None if value is None else 1 - value for value in line] for line in similarity]
    guide = 1 / max(1, len(networks.names) + networks.left_out)
    charts = (
        (
            words("Mean weight at each step"),
            words("Each network's share in changing the picture, from 0 to 1."),
            weights,
            guide,
        ),
        (
            words("Distance from the base at each step (1 − similarity)"),
            words("How far each network's prediction is from the base model's; 0: they agree."),
            distance,
            None,
        ),
    )
    drawn = "".join(
        f'<div><h4>{escape(title)}</h4><p class="note">{escape(about)}</p>'
        f"{_chart(selection, networks, lines, title, level, words)}</div>"
        for title, about, lines, level in charts
        if any(value is not None for line in lines for value in line)
    )
    if not drawn:
        return ""
    return f'<section><h3>{escape(words("Step by step"))}</h3><div class="charts">{drawn}</div></section>'


def _chart(
    selection: Selection,
    networks: Networks,
    lines: Sequence[_Line],
    title: str,
    guide: float | None,
    words: Words,
) -> str:
    said = ", ".join(
        f"{networks.letter(index)} {networks.names[index]} {mean:.3g}"
        for index, mean in zip(networks.speaking, means(lines), strict=True)
        if mean is not None
    )
    return line_chart(
        [f"{networks.letter(index)} {_short(networks.names[index])}" for index in networks.speaking],
        lines,
        title=words("{title}. Means over the steps: {means}", title=title, means=said),
        guide=guide,
        slots=networks.speaking,
        gaps=all(step.mode != "placed" for step in selection.steps),  # between looks nothing is compared
        mark=selection.step - 1 if selection.step else None,
        labels=Labels(
            words("step {step}", step=1),
            words("step {step}", step=len(selection.steps)),
            words("all equal"),
        ),
    )


def chosen_html(selection: Selection, networks: Networks, words: Words) -> str:
    """A row for each network, a filled cell for each step at which it acted; nothing if all always did."""
    acted = [
        frozenset(step.chosen[selection.image]) if selection.image < len(step.chosen) else frozenset[str]()
        for step in selection.steps
    ]
    report = selection.report
    composing = [names for names, step in zip(acted, selection.steps, strict=True) if step.mode != "base"]
    if report is None or all(names >= set(report.composed) for names in composing):
        return ""
    rows = []
    for index in networks.speaking:
        steps = [number for number, names in enumerate(acted, 1) if networks.names[index] in names]
        head = f"<span>{named(networks, index, words)}</span>"
        rows.append(_row("", head, steps, selection, network_color(index), words))
    scans = [number for number, step in enumerate(selection.steps, 1) if step.scan]
    if 0 < len(scans) < len(acted):
        head = escape(words("all were compared"))
        rows.append(_row("scans", head, scans, selection, "currentColor", words))
    never = ""
    if networks.silent:
        text = words("Never chosen: {names}", names=networks.silent_names)
        never = f'<p class="note">{escape(text)}</p>'
    about = words(
        "Filled: the network was chosen at this step and could act. The steps run from left to right."
    )
    head = "".join(
        f'<th scope="col">{escape(text)}</th>'
        for text in (words("network"), words("steps"), words("chosen at"))
    )
    return (
        f"<section><h3>{escape(words('Chosen networks'))}</h3>"
        f'<p class="note">{escape(about)}</p><div class="scroll"><table class="chosen">'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>{never}</section>"
    )


def _row(look: str, head: str, steps: Sequence[int], selection: Selection, color: str, words: Words) -> str:
    """The steps as a strip of cells; what it shows stands in words beside it."""
    count = len(selection.steps)
    gap = 0.12 if count <= SEPARATE_CELLS else 0.0
    stretches = spans(steps)
    cells = "".join(
        f'<rect x="{first - 1 + gap / 2:g}" y="0" width="{last - first + 1 - gap:g}" height="1"/>'
        for first, last in ([(step, step) for step in steps] if gap else stretches)
    )
    mark = (
        f'<rect class="mark" x="{selection.step - 1}" y="0" width="1" height="1"/>' if selection.step else ""
    )
    said = [f"{first}" if first == last else f"{first}–{last}" for first, last in stretches[:6]]
    text = ", ".join(said) + (", …" if len(stretches) > len(said) else "")
    text = words("{steps} ({some} of {count})", steps=text, some=len(steps), count=count)
    if not steps:
        text = words("no step")
    elif len(steps) == count:
        text = words("all steps")
    return (
        f'<tr class="{look}"><th scope="row">{head}</th><td>'
        f'<svg class="cells" viewBox="0 0 {count} 1" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect class="ground" x="0" y="0" width="{count}" height="1"/>'
        f'<g style="fill:{color}">{cells}</g>{mark}</svg></td><td>{escape(text)}</td></tr>'
    )


def spans(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending numbers as stretches without a gap: 1, 2, 3, 7 → (1, 3), (7, 7)."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"
