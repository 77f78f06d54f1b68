"""What one step did, in words; and means over steps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from loratorio_ext.run import StepReport
from loratorio_ext.server.words import Words
from loratorio_ext.ui.inspector.looked import Looked


def means(lines: Sequence[Sequence[float | None]]) -> list[float | None]:
    """The mean of each line's known values; None where none is known."""
    found = []
    for line in lines:
        known = [value for value in line if value is not None]
        found.append(sum(known) / len(known) if known else None)
    return found


def step_line(looked: Looked, words: Words) -> str:
    """The step that is looked at in one line, as plain text."""
    step = looked.at
    if step is None:
        if len(looked.steps) == 1:
            return words("The only step, {done}", done=mode_line(looked.steps[0], words))
        return words("Mean over all {count} steps", count=len(looked.steps))
    return words(
        "Step {step} of {count}: {done} (rows: {rows}, model calls: {calls}, seconds: {seconds})",
        step=looked.step,
        count=len(looked.steps),
        done=mode_line(step, words),
        rows=step.rows,
        calls=step.calls,
        seconds=f"{step.seconds:.2f}",
    )


def mode_line(step: StepReport, words: Words) -> str:
    """What a step did with the networks, as plain text."""
    if step.reused:
        return words("what each network added before was added again")
    if step.mode == "composed":
        return words("composed place by place")
    if step.mode == "merged":
        return words("networks merged the usual way")
    if step.mode == "switch":
        return words("one network at a time")
    if step.mode == "composite":
        return words("the plain mean of all networks")
    return words("the base model alone")


def spans(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending numbers as stretches without a gap: 1, 2, 3, 7 → (1, 3), (7, 7)."""
    found: list[tuple[int, int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found
