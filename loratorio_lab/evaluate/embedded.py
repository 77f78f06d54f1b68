"""The suite "embedded": tags name the networks, the embedded model draws, and its judge looks."""

from __future__ import annotations

import operator
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from loratorio_ext.cli.console import Console
from loratorio_ext.cli.tools import DemoData
from loratorio_lab.evaluate.arms import REFERENCE, MethodArm, arms_from
from loratorio_lab.evaluate.engine import Batch
from loratorio_lab.evaluate.spread import Open
from loratorio_lab.evaluate.summary import Figure, Group, shown
from loratorio_lab.evaluate.worlds import (
    Answer,
    SceneTask,
    World,
    WorldSuite,
    complete,
    look,
    open_worlds,
    presence,
)
from loratorio_lab.tools import LabTools

EmbeddedBatch = Batch[MethodArm, SceneTask]


FIGURES: Final[Sequence[Figure[SceneTask, Answer]]] = (
    # Share of the requested concepts that the judge finds.
    Figure("presence", lambda group: group.mean(presence), "concepts there"),
    # Share of pictures with all of them.
    Figure("complete", lambda group: group.mean(complete), "all there", lambda share: f"{share.mean:.3f}"),
    # Share of pictures with everything that the caption names.
    Figure(
        "right",
        lambda group: group.mean(lambda task, answer: float(dict(answer.answers) == dict(task.scene))),
        "all right",
        lambda share: f"{share.mean:.3f}",
    ),
    # Presence by LoRAtorio less presence by this arm, of the same tasks; None without LoRAtorio.
    Figure(
        "behind",
        lambda group: group.paired(presence, operator.sub),
        "LoRAtorio ahead by",
        lambda value: shown(value, "+"),
    ),
    Figure("ratio", Group.ratio, "× rows", "{:.2f}".format),
)


class EmbeddedSuite(WorldSuite[MethodArm, Answer]):
    """The methods beside each other."""

    FILE = "answers.jsonl"
    SCHEMA = "loratorio.evaluation"
    REFERENCE = REFERENCE
    PLOTTED = "presence"

    def __init__(self, arguments: Namespace, tools: LabTools) -> None:
        """As the options say; raises ValueError for a world or a sweep that cannot be used."""
        super().__init__(arguments, tools, Answer, arms_from(arguments), {})

    def opener(self) -> Open[EmbeddedBatch, list[Answer]]:
        """Opens every world."""
        return partial(_open, self.folders, self.tools)

    def figures(self, console: Console) -> Sequence[Figure[SceneTask, Answer]]:
        """See `FIGURES`."""
        return FIGURES


def _open(folders: Mapping[str, DemoData], tools: LabTools) -> Callable[[EmbeddedBatch], list[Answer]]:
    return partial(draw, open_worlds(folders, tools))


def draw(worlds: Mapping[str, World], batch: EmbeddedBatch) -> list[Answer]:
    """Draw one batch in its world, and let the judge look."""
    world, arm, tasks = worlds[batch.world], batch.arm, batch.tasks
    prompts = [task.prompt for task in tasks]
    return look(world, arm, tasks, prompts, world.networks, switch_every=arm.switch_every, masks=arm.masks)[1]
