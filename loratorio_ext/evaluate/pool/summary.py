"""From pictures of pools to a table: what is there, how often the right networks acted, and what it took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from loratorio_ext.evaluate.pool.arms import NAMED
from loratorio_ext.evaluate.pool.draw import Choice
from loratorio_ext.evaluate.statistics import Estimate, estimate
from loratorio_ext.evaluate.summary import presence
from loratorio_ext.evaluate.tasks import Task


@dataclass(frozen=True)
class PoolCell:
    """One way with one number of concepts asked for.

    Attributes:
        arm: its name.
        networks: concepts that the prompt asks for.
        presence: share of them that the judge finds.
        ahead: presence less that of the networks named by hand, of the same tasks; None for those.
        complete: share of pictures with all of them.
        right: for each step the mean share of the networks asked for that could act; empty where none is
            chosen.
        weight: for each step the mean share of the weight that they had.
        stable: mean share of the acting networks that acted at the step before too; None likewise.
        ratio: predictions, as a multiple of what the base alone takes.
    """

    arm: str
    networks: int
    presence: Estimate
    ahead: Estimate | None
    complete: float
    right: tuple[float, ...]
    weight: tuple[float, ...]
    stable: float | None
    ratio: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def summarize(results: Sequence[Choice], arms: Sequence[str], tasks: Sequence[Task]) -> list[PoolCell]:
    """A cell for every number of concepts and every way that has results, in the order of ``arms``."""
    by_key = {task.key: task for task in tasks}
    known = [result for result in results if result.task in by_key]
    cells = []
    for networks in sorted({len(task.concepts) for task in tasks}):
        some = [result for result in known if len(by_key[result.task].concepts) == networks]
        named = {(r.world, r.task): presence(by_key[r.task], r.answers) for r in some if r.arm == NAMED}
        for arm in arms:
            mine = [result for result in some if result.arm == arm]
            if not mine:
                continue
            found = [presence(by_key[r.task], r.answers) for r in mine]
            clusters = [(r.world, by_key[r.task].combination) for r in mine]
            pairs = [place for place, r in enumerate(mine) if (r.world, r.task) in named]
            ahead = None
            if pairs and arm != NAMED:
                differences = [found[p] - named[mine[p].world, mine[p].task] for p in pairs]
                ahead = estimate(differences, [clusters[p] for p in pairs])
            stable = [value for r in mine for value in r.stable]
            cells.append(
                PoolCell(
                    arm,
                    networks,
                    estimate(found, clusters),
                    ahead,
                    float(np.mean([share == 1.0 for share in found])),
                    _by_step([r.right for r in mine]),
                    _by_step([r.weight for r in mine]),
                    float(np.mean(stable)) if stable else None,
                    sum(r.rows for r in mine) / sum(r.plain_rows for r in mine),
                )
            )
    return cells


def _by_step(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in np.mean(rows, axis=0)) if all(rows) else ()


def markdown(cells: Sequence[PoolCell]) -> str:
    """The cells as a table; right and weight as first step, mean and last step."""
    lines = [
        "| concepts | way | concepts there | against named by hand | all there | right networks act | "
        "their weight | choice kept | × rows | pictures |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {cell.networks} | {cell.arm} | {_shown(cell.presence)} | "
        f"{'' if cell.ahead is None else _shown(cell.ahead, '+')} | {cell.complete:.3f} | "
        f"{_steps(cell.right)} | {_steps(cell.weight)} | "
        f"{'' if cell.stable is None else f'{cell.stable:.2f}'} | {cell.ratio:.2f} | "
        f"{cell.presence.pictures} |"
        for cell in cells
    ]
    return "\n".join(lines) + "\n"


def _shown(value: Estimate, sign: str = "") -> str:
    error = "" if value.error is None else f" ± {value.error:.3f}"
    return f"{value.mean:{sign}.3f}{error}"


def _steps(values: Sequence[float]) -> str:
    """First step, mean, last step."""
    return f"{values[0]:.2f} {np.mean(values):.2f} {values[-1]:.2f}" if values else ""
