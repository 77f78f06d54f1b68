"""The figures for people: tables in markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from loratorio_lab.bench.measure import Figure, Measured
from loratorio_lab.bench.steps import LOOK_STEP, PAPER_STEP, PLACED_STEP
from loratorio_lab.bench.ways import LABELS

_LOOKS = 4


class About(Protocol):
    """What a measurement was of."""

    def title(self) -> str:
        """In one line."""


def markdown(
    machine: dict[str, Any], results: Sequence[tuple[About, Measured]], left_out: Sequence[str]
) -> str:
    """Everything, the machine first, then a block for each measurement."""
    head = (
        f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads of torch; device "
        f"{machine['device']}, {machine['dtype']}; {machine['date']}; load of the machine at the start: "
        f"{machine['load']}"
    )
    blocks = [head, *(_block(about, measured) for about, measured in results)]
    if left_out:
        blocks.append("Left out:\n\n" + "\n".join(f"- {line}" for line in left_out))
    return "\n\n".join(blocks) + "\n"


def _block(about: About, measured: Measured) -> str:
    parts = [f"## {about.title()}"]
    if measured.ways:
        parts.append(_ways(measured))
    if measured.steps:
        parts.append(_steps(measured))
    parts.append("\n".join(f"- {line}" for line in _notes(measured)))
    return "\n\n".join(parts)


def _ways(measured: Measured) -> str:
    lines = [
        "| the same predictions by | calls | rows | ms | rows a second | × plain | quartiles | peak MB | "
        "difference |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.label} | {one.calls} | {one.rows:g} | {_ms(one)} | {one.rows / one.seconds[1]:.3g} | "
        f"{_ratio(one)} | {_mega(one.peak)} | {one.error:.1e} |"
        for one in measured.ways
    ]
    return "\n".join(lines)


def _steps(measured: Measured) -> str:
    lines = [
        "| a step | rows | ms | × plain rows | × plain step | quartiles | time for a row, × plain |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in measured.steps:
        rows = one.rows / one.plain_rows
        lines.append(
            f"| {one.label} | {one.rows:g} | {_ms(one)} | {rows:.2f} | {_ratio(one)} | "
            f"{one.ratio[1] / rows:.3f} |"
        )
    return "\n".join(lines)


def _notes(measured: Measured) -> list[str]:
    what = "processor time of this process" if measured.clock == "processor" else "time that passed"
    notes = [
        f"Times are {what}, medians; × plain is the median of the ratios within a round.",
        f"Networks touch {measured.layers} layers. A network changes the base's prediction by a part of "
        f"{measured.effect:.2f}.",
        f"Our router holds {_mega(measured.held)} MB between calls and takes {measured.prepare * 1e3:.1f} ms "
        "to prepare for rows that it has not seen.",
    ]
    if measured.ways:
        largest = max(one.error or 0.0 for one in measured.ways)
        notes.append(
            f"The largest difference between the ways is {largest:.1e}. Peaks are of making a way and of its "
            "first call: what it goes on holding is in them."
        )
    paper = [one.seconds[1] for one in measured.steps if one.name == PAPER_STEP]
    share = f" ({measured.compose / paper[0]:.2%} of a step with λ = 0.5)" if paper else ""
    ratios = {one.name: one.ratio[1] for one in measured.steps}
    for steps in (20, 30) if {LOOK_STEP, PLACED_STEP} <= ratios.keys() else ():
        whole = (_LOOKS * ratios[LOOK_STEP] + (steps - _LOOKS) * ratios[PLACED_STEP]) / steps
        notes.append(f"{steps} steps, {_LOOKS} of them looks, are {whole:.2f} × plain by these ratios.")
    rest = f" ({measured.but_model / paper[0]:.2%})" if paper else ""
    notes.append(
        f"From patches to composition: {measured.compose * 1e3:.2f} ms{share}; all of such a step but the "
        f"model: {measured.but_model * 1e3:.2f} ms{rest}."
    )
    notes += [
        f"{LABELS.get(name, name)}: not timed, because {refused.reason}."
        for name, refused in measured.refused.items()
    ]
    return notes


def _ms(one: Figure) -> str:
    return f"{one.seconds[1] * 1e3:.1f}"


def _ratio(one: Figure) -> str:
    return f"{one.ratio[1]:.3f} | {one.ratio[0]:.3f} to {one.ratio[2]:.3f}"


def _mega(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:.0f}"
