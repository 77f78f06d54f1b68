"""The suite "embedded": tags name the networks, the embedded model draws, and its judge looks."""

from __future__ import annotations

import operator
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from loratorio_ext.cli.console import Console
from loratorio_ext.cli.places import DemoData
from loratorio_ext.hosts.diffusers_host import Request
from loratorio_lab.evaluate.arms import REFERENCE, Arm, arms_from
from loratorio_lab.evaluate.engine import Batch
from loratorio_lab.evaluate.spread import Open
from loratorio_lab.evaluate.summary import Estimate, Group, shown
from loratorio_lab.evaluate.worlds import Answer, SceneTask, World, WorldSuite, open_worlds, presence
from loratorio_lab.tools import LabTools
from loratorio_lab.world.judge import likeliest

EmbeddedBatch = Batch[Arm, SceneTask]


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


class EmbeddedSuite(WorldSuite[Arm, Answer]):
    """The methods beside each other."""

    FILE = "answers.jsonl"
    SCHEMA = "loratorio.evaluation"
    REFERENCE = REFERENCE
    COLUMNS = (
        ("networks", lambda cell: str(cell.networks)),
        ("method", lambda cell: cell.arm),
        ("concepts there", lambda cell: shown(cell.presence)),
        ("all there", lambda cell: f"{cell.complete.mean:.3f}"),
        ("all right", lambda cell: f"{cell.right.mean:.3f}"),
        ("LoRAtorio ahead by", lambda cell: shown(cell.behind, "+")),
        ("× rows", lambda cell: f"{cell.ratio:.2f}"),
        ("pictures", lambda cell: str(cell.presence.pictures)),
    )

    def __init__(self, arguments: Namespace, tools: LabTools) -> None:
        """As the options say; raises ValueError for what cannot be."""
        super().__init__(arguments, tools, Answer, arms_from(arguments), {})

    def opener(self) -> Open[EmbeddedBatch, list[Answer]]:
        """Opens every world."""
        return partial(_open, self.folders, self.tools)

    def cells(self, groups: Sequence[Group[SceneTask, Answer]], console: Console) -> list[Cell]:
        """See `Cell`."""
        return [cell_of(group) for group in groups]


def _open(folders: Mapping[str, DemoData], tools: LabTools) -> Callable[[EmbeddedBatch], list[Answer]]:
    return partial(draw, open_worlds(folders, tools))


def draw(worlds: Mapping[str, World], batch: EmbeddedBatch) -> list[Answer]:
    """Draw one batch in its world, and let the judge look."""
    world, arm, tasks = worlds[batch.world], batch.arm, batch.tasks
    drawn = world.host.generate(
        Request(
            prompts=[task.prompt for task in tasks],
            seeds=[task.seed for task in tasks],
            steps=arm.sampling.steps,
            cfg=arm.sampling.cfg,
            settings=arm.settings,
            method=arm.method,
            switch_every=arm.switch_every,
            network_dir=world.networks,
        )
    )
    totals, count = drawn.report.totals, len(tasks)
    return [
        Answer(
            arm.name, world.name, task.key, likeliest(seen), totals.rows / count, totals.plain_rows / count
        )
        for task, seen in zip(tasks, world.judge.scores(drawn.images), strict=True)
    ]


def cell_of(group: Group[SceneTask, Answer]) -> Cell:
    """The figures of one arm with one number of networks."""
    return Cell(
        group.arm,
        group.networks,
        presence=group.mean(presence),
        complete=group.mean(lambda task, answer: float(presence(task, answer) == 1.0)),
        right=group.mean(lambda task, answer: float(dict(answer.answers) == dict(task.scene))),
        behind=group.paired(presence, operator.sub),
        ratio=group.ratio,
    )
