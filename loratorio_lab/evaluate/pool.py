"""The suite "pool": the prompt holds trigger words only, and the networks are chosen from a whole pool."""

from __future__ import annotations

import itertools
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from loratorio_ext.cli.console import Console
from loratorio_ext.cli.option_types import settings_from
from loratorio_ext.cli.tools import DemoData
from loratorio_ext.settings import Settings
from loratorio_lab.evaluate.arms import Arm, Sampling
from loratorio_lab.evaluate.distractors import build_pool
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
    open_world,
    open_worlds,
    presence,
)
from loratorio_lab.tools import LabTools

NAMED: Final = "named by hand"
"""LoRAtorio with the networks that the prompt needs, as tags: what dynamic selection would like to reach."""

_SEED_OF_DISTRACTORS: Final = 1


@dataclass(frozen=True)
class PoolArm(Arm):
    """A way to use a pool.

    Attributes:
        size: networks in the pool; 0 where tags name them.
    """

    size: int


@dataclass(frozen=True)
class Choice(Answer):
    """A picture from a pool.

    Attributes:
        right: for each step the share of the networks asked for that could act; empty where none was chosen.
        weight: for each step the share of all weight that the networks asked for had; empty likewise.
        stable: for each step but the first the share of the acting networks that acted before too.
    """

    right: Sequence[float]
    weight: Sequence[float]
    stable: Sequence[float]


PoolBatch = Batch[PoolArm, SceneTask]


class PoolSuite(WorldSuite[PoolArm, Choice]):
    """Dynamic selection from pools of several sizes, and the networks named by hand."""

    FILE = "choices.jsonl"
    SCHEMA = "loratorio.evaluation.pool"
    REFERENCE = NAMED
    HEAD = ("concepts", "way")

    def __init__(self, arguments: Namespace, tools: LabTools) -> None:
        """As the options say; raises ValueError for a world that cannot be used."""
        arms = pool_arms(
            settings_from(arguments),
            Sampling(arguments.steps, arguments.cfg, arguments.sampler),
            *(sorted(set(given)) for given in (arguments.pool_sizes, arguments.keep, arguments.rescans)),
        )
        super().__init__(arguments, tools, Choice, arms, {"suite": "pool"})
        # Workers elsewhere need the same files at the same places.
        self.pools = self.out.absolute() / "pools"

    def prepare(self, console: Console) -> None:
        """Make the pools that are not there yet."""
        for name, data in self.folders.items():
            for size in sorted({arm.size for arm in self.arms if arm.size}):
                folder = self.pools / name / str(size)
                if not folder.exists():
                    console.note(f"making a pool of {size} networks for the world {name}")
                    host = open_world(name, data, self.tools).host
                    build_pool(folder, size, data.networks, host, _SEED_OF_DISTRACTORS)

    def opener(self) -> Open[PoolBatch, list[Choice]]:
        """Opens every world."""
        return partial(_open, self.folders, self.tools, self.pools)

    def share(self, arm: PoolArm, task: SceneTask) -> str:
        """Networks are the same for a whole batch; where no prompt names any, any tasks may share one."""
        is_named = not arm.size or arm.settings.pool_by == "words"
        return task.combination if is_named else ""

    def figures(self, console: Console) -> Sequence[Figure[SceneTask, Choice]]:
        """See `FIGURES`."""
        return FIGURES


def pool_arms(
    settings: Settings, sampling: Sampling, sizes: Sequence[int], keeps: Sequence[int], rescans: Sequence[int]
) -> list[PoolArm]:
    """Every way that is compared.

    Args:
        settings: of the composition, without a pool.
        sampling: steps and guidance scale.
        sizes: numbers of networks in the pool.
        keeps: k, networks kept.
        rescans: every how many steps the whole pool is looked at again, for the choice per image.

    Returns:
        First the networks named by hand; then for each size the whole pool merged, for each k the choice per
        image with every rescan, and per patch, and last the networks whose trigger words the prompt has.
    """
    arms = [PoolArm(NAMED, "loratorio", replace(settings, pool="", top_k=0), sampling, size=0)]
    everything = replace(settings, pool="*", pool_by="difference")
    for size in sizes:
        arms.append(PoolArm(f"pool {size}: merged", "merge", everything, sampling, size))
        for k in keeps:
            for rescan in rescans:
                name = f"pool {size}: k={k} per image" + (f", rescan {rescan}" if rescan > 1 else "")
                looks = everything.looks if rescan == 1 else 0
                chosen = replace(everything, top_k=k, top_k_scope="image", rescan=rescan, looks=looks)
                arms.append(PoolArm(name, "loratorio", chosen, sampling, size))
            chosen = replace(everything, top_k=k, top_k_scope="patch", rescan=1)
            arms.append(PoolArm(f"pool {size}: k={k} per patch", "loratorio", chosen, sampling, size))
        by_words = replace(everything, pool_by="words")
        arms.append(PoolArm(f"pool {size}: by words", "loratorio", by_words, sampling, size))
    return arms


def _open(
    folders: Mapping[str, DemoData], tools: LabTools, pools: Path
) -> Callable[[PoolBatch], list[Choice]]:
    return partial(draw, open_worlds(folders, tools), pools)


def draw(worlds: Mapping[str, World], pools: Path, batch: PoolBatch) -> list[Choice]:
    """Draw one batch in its world, let the judge look, and see which networks acted.

    Args:
        worlds: by name.
        pools: folder with every world's pools, by their size.
        batch: what is drawn.
    """
    world, arm, tasks = worlds[batch.world], batch.arm, batch.tasks
    prompts = [task.caption if arm.size else task.prompt for task in tasks]
    folder = pools / world.name / str(arm.size) if arm.size else world.networks
    report, answers = look(world, arm, tasks, prompts, folder)
    steps = [step for step in report.steps if step.mode == "composed"]
    choices = []
    for image, (task, answer) in enumerate(zip(tasks, answers, strict=True)):
        wanted = set(task.networks)
        acting = [set(step.chosen[image]) for step in steps]
        choices.append(
            Choice(
                **vars(answer),
                right=[round(len(names & wanted) / len(wanted), 4) for names in acting],
                weight=[round(_weight(step, report.composed, wanted, image), 4) for step in steps],
                stable=[
                    round(len(now & before) / max(len(now), 1), 4)
                    for before, now in itertools.pairwise(acting)
                ],
            )
        )
    return choices


def _weight(step: Any, composed: Sequence[str], wanted: set[str], image: int) -> float:
    """The part of all weight that the networks asked for have at a step."""
    of_image = {name: row[image] or 0.0 for name, row in zip(composed, step.weight, strict=True)}
    total = sum(of_image.values())
    return sum(weight for name, weight in of_image.items() if name in wanted) / total if total else 0.0


def _by_step(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in np.mean(rows, axis=0)) if all(rows) else ()


def _first_mean_last(values: Sequence[float]) -> str:
    return f"{values[0]:.2f} {np.mean(values):.2f} {values[-1]:.2f}" if values else ""


def _stable(group: Group[SceneTask, Choice]) -> float | None:
    values = [value for _, choice in group.pictures for value in choice.stable]
    return float(np.mean(values)) if values else None


FIGURES: Final[Sequence[Figure[SceneTask, Choice]]] = (
    # Share of the concepts asked for that the judge finds.
    Figure("presence", lambda group: group.mean(presence), "concepts there"),
    # Presence less that of the networks named by hand, of the same tasks; None for those.
    Figure(
        "ahead",
        lambda group: group.paired(presence, lambda named, chosen: chosen - named),
        "against named by hand",
        lambda value: shown(value, "+"),
    ),
    # Share of pictures with all of the concepts.
    Figure("complete", lambda group: group.mean(complete).mean, "all there", "{:.3f}".format),
    # For each step the mean of `Choice.right`; empty where none is chosen.
    Figure(
        "right",
        lambda group: _by_step([choice.right for _, choice in group.pictures]),
        "right networks act",
        _first_mean_last,
    ),
    # For each step the mean of `Choice.weight`.
    Figure(
        "weight",
        lambda group: _by_step([choice.weight for _, choice in group.pictures]),
        "their weight",
        _first_mean_last,
    ),
    # The mean of `Choice.stable`; None where none is chosen.
    Figure("stable", _stable, "choice kept", lambda value: "" if value is None else f"{value:.2f}"),
    Figure("ratio", Group.ratio, "× rows", "{:.2f}".format),
)
