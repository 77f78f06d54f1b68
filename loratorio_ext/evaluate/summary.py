"""From results to a table: how much of what was asked for is there, beside LoRAtorio, and what it took."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from loratorio_ext.evaluate.arms import REFERENCE
from loratorio_ext.evaluate.statistics import Estimate, estimate
from loratorio_ext.evaluate.store import Result
from loratorio_ext.evaluate.tasks import Task
from loratorio_ext.world.concepts import FACTOR_OF_CONCEPT


@dataclass(frozen=True)
class Cell:
    """One arm with one number of networks.

    Attributes:
        arm: its name.
        networks: N.
        presence: share of the requested concepts that the judge finds.
        complete: share of pictures with all of them.
        right: share of pictures with all of them and everything else that the caption names.
        behind: presence by LoRAtorio less presence by this arm, of the same tasks; None without LoRAtorio.
        ratio: predictions, as a multiple of what the base alone takes.
    """

    arm: str
    networks: int
    presence: Estimate
    complete: Estimate
    right: Estimate
    behind: Estimate | None
    ratio: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def presence(task: Task, answers: Mapping[str, str]) -> float:
    """Share of the task's concepts among the judge's answers, in [0, 1]."""
    return float(
        np.mean([answers.get(FACTOR_OF_CONCEPT[concept].name) == concept for concept in task.concepts])
    )


def summarize(results: Sequence[Result], tasks: Sequence[Task]) -> list[Cell]:
    """A cell for every number of networks and every arm that has results, in the order of both.

    Clusters of the standard errors are combinations of concepts, of each world its own.
    """
    by_key = {task.key: task for task in tasks}
    known = [result for result in results if result.task in by_key]
    reference = {(r.world, r.task): r for r in known if r.arm == REFERENCE}
    cells = []
    for networks in sorted({len(task.concepts) for task in tasks}):
        for name in dict.fromkeys(result.arm for result in known):
            mine = [r for r in known if r.arm == name and len(by_key[r.task].concepts) == networks]
            if mine:
                cells.append(_cell(name, networks, mine, by_key, reference))
    return cells


def _cell(
    name: str,
    networks: int,
    results: Sequence[Result],
    tasks: Mapping[str, Task],
    reference: Mapping[tuple[str, str], Result],
) -> Cell:
    clusters = [(r.world, tasks[r.task].combination) for r in results]
    found = [presence(tasks[r.task], r.answers) for r in results]
    right = [float(dict(r.answers) == dict(tasks[r.task].scene)) for r in results]
    behind = None
    pairs = [(r, reference[r.world, r.task]) for r in results if (r.world, r.task) in reference]
    if pairs and name != REFERENCE:
        behind = estimate(
            [presence(tasks[r.task], best.answers) - presence(tasks[r.task], r.answers) for r, best in pairs],
            [(r.world, tasks[r.task].combination) for r, _ in pairs],
        )
    return Cell(
        name,
        networks,
        presence=estimate(found, clusters),
        complete=estimate([float(share == 1.0) for share in found], clusters),
        right=estimate(right, clusters),
        behind=behind,
        ratio=sum(r.rows for r in results) / sum(r.plain_rows for r in results),
    )


def markdown(cells: Sequence[Cell]) -> str:
    """The cells as a table, one block for each number of networks."""
    lines = [
        "| networks | method | concepts there | all there | all right | LoRAtorio ahead by | × rows "
        "| pictures |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {cell.networks} | {cell.arm} | {_shown(cell.presence)} | {cell.complete.mean:.3f} | "
        f"{cell.right.mean:.3f} | {'' if cell.behind is None else _shown(cell.behind, '+')} | "
        f"{cell.ratio:.2f} | {cell.presence.pictures} |"
        for cell in cells
    ]
    return "\n".join(lines) + "\n"


def _shown(value: Estimate, sign: str = "") -> str:
    error = "" if value.error is None else f" ± {value.error:.3f}"
    return f"{value.mean:{sign}.3f}{error}"
