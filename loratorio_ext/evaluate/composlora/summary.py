"""From pictures and scores to a table beside LoRAtorio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from loratorio_ext.evaluate.arms import REFERENCE, Arm
from loratorio_ext.evaluate.composlora.records import Picture, Score
from loratorio_ext.evaluate.composlora.tasks import Task
from loratorio_ext.evaluate.statistics import Estimate, estimate

CAUTION: Final = (
    "CLIPScore compares a picture with words; it does not see whether networks were composed. In the "
    "testbed's own study its correlation with people's judgement of composition was -0.006 (Pearson; that of "
    "GPT-4V was 0.454): do not judge composition by it alone, look at the pictures."
)
_LONG: Final = frozenset({"arms", "fingerprints", "list"})  # in results.json only
NOT_SCORED: Final = "The pictures were not scored: run the same command with --clip, nothing is drawn again."


@dataclass(frozen=True)
class Cell:
    """One arm with one number of networks.

    Attributes:
        arm: its name.
        networks: N.
        pictures: how many were drawn.
        score: CLIPScore, 0 to 100; None where nothing was scored.
        behind: score by LoRAtorio less score by this arm, of the same tasks; None without both.
        cut: share of the scored pictures whose caption was longer than CLIP reads.
        ratio: predictions, as a multiple of what the base alone takes.
        seconds: of the model for a picture, the mean.
    """

    arm: str
    networks: int
    pictures: int
    score: Estimate | None
    behind: Estimate | None
    cut: float | None
    ratio: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def summarize(
    pictures: Sequence[Picture],
    scores: Mapping[tuple[str, str], Score],
    arms: Sequence[Arm],
    tasks: Sequence[Task],
) -> list[Cell]:
    """A cell for every number of networks and every arm that has pictures, in the order of both.

    Clusters of the standard errors are combinations of networks.

    Args:
        pictures: what was drawn.
        scores: by arm and task's key; may be empty.
        arms: the methods.
        tasks: what was asked for; others do not count.
    """
    by_key = {picture.key: picture for picture in pictures}
    cells = []
    for networks in sorted({len(task.networks) for task in tasks}):
        some = [task for task in tasks if len(task.networks) == networks]
        for arm in arms:
            mine = [(task, by_key[arm.name, task.key]) for task in some if (arm.name, task.key) in by_key]
            if mine:
                cells.append(_cell(arm.name, networks, mine, scores))
    return cells


def _cell(
    arm: str,
    networks: int,
    drawn: Sequence[tuple[Task, Picture]],
    scores: Mapping[tuple[str, str], Score],
) -> Cell:
    scored = [(task, scores[arm, task.key]) for task, _ in drawn if (arm, task.key) in scores]
    pairs = [
        (task, scores[REFERENCE, task.key].score - score.score)
        for task, score in scored
        if arm != REFERENCE and (REFERENCE, task.key) in scores
    ]
    return Cell(
        arm,
        networks,
        len(drawn),
        score=_estimate([(task, score.score) for task, score in scored]),
        behind=_estimate(pairs),
        cut=sum(score.cut for _, score in scored) / len(scored) if scored else None,
        ratio=sum(picture.rows for _, picture in drawn) / sum(picture.plain_rows for _, picture in drawn),
        seconds=sum(picture.seconds for _, picture in drawn) / len(drawn),
    )


def _estimate(values: Sequence[tuple[Task, float]]) -> Estimate | None:
    if not values:
        return None
    return estimate([value for _, value in values], [task.combination for task, _ in values])


def markdown(cells: Sequence[Cell], about: Mapping[str, Any], made_with: Mapping[str, Any]) -> str:
    """A page: the table, how it was made, and what it cannot say.

    Args:
        cells: see `summarize`.
        about: what was drawn, by name.
        made_with: versions, machine and date, by name.
    """
    lines = [
        "| networks | method | CLIPScore | LoRAtorio ahead by | × rows | seconds | pictures |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {cell.networks} | {cell.arm} | {_shown(cell.score)} | {_shown(cell.behind, '+')} | "
        f"{cell.ratio:.2f} | {cell.seconds:.2f} | {cell.pictures} |"
        for cell in cells
    ]
    scored = any(cell.score is not None for cell in cells)
    lines += ["", "Mean ± standard error, clustered by combination of networks." if scored else NOT_SCORED]
    cut = [f"{cell.arm} {cell.networks}: {cell.cut:.0%}" for cell in cells if cell.cut]
    if cut:
        lines += ["", f"Captions longer than CLIP reads, of which it saw the beginning: {', '.join(cut)}."]
    lines += ["", CAUTION, ""]
    told = {name: value for name, value in {**about, **made_with}.items() if name not in _LONG}
    lines += [f"- {name}: {value}" for name, value in told.items()]
    lines += ["", "results.json has this with all settings and fingerprints of all files."]
    return "\n".join(lines) + "\n"


def _shown(value: Estimate | None, sign: str = "") -> str:
    if value is None:
        return ""
    error = "" if value.error is None else f" ± {value.error:.2f}"
    return f"{value.mean:{sign}.2f}{error}"
