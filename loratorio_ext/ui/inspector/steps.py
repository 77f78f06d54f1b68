"""Step by step: what one step did, the charts of weight and distance, and which networks were chosen when."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

from loratorio_ext.plots.charts import line_chart
from loratorio_ext.plots.colors import network_color
from loratorio_ext.run import StepReport
from loratorio_ext.server.words import Words
from loratorio_ext.ui.inspector.pictures import ink_on
from loratorio_ext.ui.inspector.selection import Networks, Selection, means, series, shortened

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

    def chart(title: str, about: str, lines: Sequence[_Line], guide: float | None) -> str:
        if all(value is None for line in lines for value in line):
            return ""
        said = ", ".join(
            f"{networks.letter(index)} {networks.names[index]} {mean:.3g}"
            for index, mean in zip(networks.speaking, means(lines), strict=True)
            if mean is not None
        )
        names = [
            f"{networks.letter(index)} {shortened(networks.names[index], LONGEST_NAME)}"
            for index in networks.speaking
        ]
        drawn = line_chart(
            names,
            lines,
            title=words("{title}. Means over the steps: {means}", title=title, means=said),
            axis=(words("step {step}", step=1), words("step {step}", step=len(selection.steps))),
            guide=None if guide is None else (guide, words("all equal")),
            slots=networks.speaking,
            gaps=all(step.mode != "placed" for step in selection.steps),  # between looks nothing is compared
            mark=selection.step - 1 if selection.step else None,
        )
        return f'<div><h4>{escape(title)}</h4><p class="note">{escape(about)}</p>{drawn}</div>'

    charts = chart(
        words("Mean weight at each step"),
        words("Each network's share in changing the picture, from 0 to 1."),
        weights,
        1 / max(1, len(networks.names) + networks.left_out),
    ) + chart(
        words("Distance from the base at each step (1 − similarity)"),
        words("How far each network's prediction is from the base model's; 0: they agree."),
        [[None if value is None else 1 - value for value in line] for line in similarity],
        None,
    )
    if not charts:
        return ""
    return f'<section><h3>{escape(words("Step by step"))}</h3><div class="charts">{charts}</div></section>'


def chosen_html(selection: Selection, networks: Networks, words: Words) -> str:
    """A row for each network, a filled cell for each step at which it acted; nothing if all always did."""
    image, report = selection.image, selection.report
    acted = [set(step.chosen[image] if image < len(step.chosen) else ()) for step in selection.steps]
    composing = [names for names, step in zip(acted, selection.steps, strict=True) if step.mode != "base"]
    if report is None or all(names >= set(report.composed) for names in composing):
        return ""
    rows = ""
    for index in networks.speaking:
        steps = [number for number, names in enumerate(acted, 1) if networks.names[index] in names]
        head = f"<span>{named(networks, index, words)}</span>"
        rows += _row("", head, steps, selection, network_color(index), words)
    scans = [number for number, step in enumerate(selection.steps, 1) if step.scan]
    if 0 < len(scans) < len(acted):
        head = escape(words("all were compared"))
        rows += _row("scans", head, scans, selection, "currentColor", words)
    never = ""
    if networks.silent:
        text = words("Never chosen: {names}", names=networks.silent_names)
        never = f'<p class="note">{escape(text)}</p>'
    about = words(
        "Filled: the network was chosen at this step and could act. The steps run from left to right."
    )
    head, title = table_head(words("network"), words("steps"), words("chosen at")), words("Chosen networks")
    # Wider than a phone: who has no pointer scrolls it by its keys.
    return (
        f'<section><h3>{escape(title)}</h3><p class="note">{escape(about)}</p>'
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(title)}"><table class="chosen">'
        f"{head}<tbody>{rows}</tbody></table></div>{never}</section>"
    )


def table_head(*texts: str) -> str:
    """The head of a table, with these texts over its columns."""
    cells = "".join(f'<th scope="col">{escape(text)}</th>' for text in texts)
    return f"<thead><tr>{cells}</tr></thead>"


def _row(look: str, head: str, steps: Sequence[int], selection: Selection, color: str, words: Words) -> str:
    """The steps as a strip of cells; what it shows stands in words beside it."""
    count = len(selection.steps)
    gap = 0.12 if count <= SEPARATE_CELLS else 0.0
    # Ascending numbers as stretches without a gap: 1, 2, 3, 7 → (1, 3), (7, 7).
    stretches: list[tuple[int, int]] = []
    for step in steps:
        if stretches and step == stretches[-1][1] + 1:
            stretches[-1] = (stretches[-1][0], step)
        else:
            stretches.append((step, step))
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
