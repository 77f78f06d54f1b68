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
from loratorio_ext.cli.places import DemoData
from loratorio_ext.hosts.diffusers_host import Request
from loratorio_ext.run import Method
from loratorio_ext.settings import Settings
from loratorio_lab.evaluate.arms import Sampling
from loratorio_lab.evaluate.distractors import build_pool
from loratorio_lab.evaluate.engine import Batch
from loratorio_lab.evaluate.spread import Open
from loratorio_lab.evaluate.summary import Estimate, Group, shown
from loratorio_lab.evaluate.worlds import (
    Answer,
    SceneTask,
    World,
    WorldSuite,
    open_world,
    open_worlds,
    presence,
)
from loratorio_lab.tools import LabTools
from loratorio_lab.world.judge import likeliest

NAMED: Final = "named by hand"
"""LoRAtorio with the networks that the prompt needs, as tags: what dynamic selection would like to reach."""

_SEED_OF_DISTRACTORS: Final = 1


@dataclass(frozen=True)
class PoolArm:
    """One way, with everything that decides its pictures but the task.

    Attributes:
        name: no two arms have the same.
        size: networks in the pool; 0 where tags name them.
        method: what the run does.
        settings: of the composition, with pool and top k.
        sampling: steps and guidance scale.
    """

    name: str
    size: int
    method: Method
    settings: Settings
    sampling: Sampling


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


@dataclass(frozen=True)
class Cell:
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


PoolBatch = Batch[PoolArm, SceneTask]


class PoolSuite(WorldSuite[PoolArm, Choice]):
    """Dynamic selection from pools of several sizes, and the networks named by hand."""

    FILE = "choices.jsonl"
    SCHEMA = "loratorio.evaluation.pool"
    REFERENCE = NAMED
    COLUMNS = (
        ("concepts", lambda cell: str(cell.networks)),
        ("way", lambda cell: cell.arm),
        ("concepts there", lambda cell: shown(cell.presence)),
        ("against named by hand", lambda cell: shown(cell.ahead, "+")),
        ("all there", lambda cell: f"{cell.complete:.3f}"),
        ("right networks act", lambda cell: _first_mean_last(cell.right)),
        ("their weight", lambda cell: _first_mean_last(cell.weight)),
        ("choice kept", lambda cell: "" if cell.stable is None else f"{cell.stable:.2f}"),
        ("× rows", lambda cell: f"{cell.ratio:.2f}"),
        ("pictures", lambda cell: str(cell.presence.pictures)),
    )

    def __init__(self, arguments: Namespace, tools: LabTools) -> None:
        """As the options say; raises ValueError for what cannot be."""
        arms = pool_arms(
            settings_from(arguments),
            Sampling(arguments.steps, arguments.cfg),
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
        """Tags are the same for a whole batch; where the prompt names none, any tasks may share one."""
        return "" if arm.size else task.combination

    def cells(self, groups: Sequence[Group[SceneTask, Choice]], console: Console) -> list[Cell]:
        """See `Cell`."""
        return [cell_of(group) for group in groups]


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
        First the networks named by hand; then for each size the whole pool merged, and for each k the choice
        per image with every rescan, and per patch.
    """
    arms = [PoolArm(NAMED, 0, "loratorio", replace(settings, pool="", top_k=0), sampling)]
    everything = replace(settings, pool="*")
    for size in sizes:
        arms.append(PoolArm(f"pool {size}: merged", size, "merge", everything, sampling))
        for k in keeps:
            for rescan in rescans:
                name = f"pool {size}: k={k} per image" + (f", rescan {rescan}" if rescan > 1 else "")
                chosen = replace(everything, top_k=k, top_k_scope="image", rescan=rescan)
                arms.append(PoolArm(name, size, "loratorio", chosen, sampling))
            chosen = replace(everything, top_k=k, top_k_scope="patch", rescan=1)
            arms.append(PoolArm(f"pool {size}: k={k} per patch", size, "loratorio", chosen, sampling))
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
    drawn = world.host.generate(
        Request(
            prompts=[task.caption if arm.size else task.prompt for task in tasks],
            seeds=[task.seed for task in tasks],
            steps=arm.sampling.steps,
            cfg=arm.sampling.cfg,
            settings=arm.settings,
            method=arm.method,
            network_dir=pools / world.name / str(arm.size) if arm.size else world.networks,
        )
    )
    totals, composed = drawn.report.totals, drawn.report.composed
    steps = [step for step in drawn.report.steps if step.mode == "composed"]
    choices = []
    for image, (task, seen) in enumerate(zip(tasks, world.judge.scores(drawn.images), strict=True)):
        wanted = set(task.networks)
        acting = [set(step.chosen[image]) for step in steps]
        choices.append(
            Choice(
                arm.name,
                world.name,
                task.key,
                likeliest(seen),
                totals.rows / len(tasks),
                totals.plain_rows / len(tasks),
                right=[round(len(names & wanted) / len(wanted), 4) for names in acting],
                weight=[round(_weight(step, composed, wanted, image), 4) for step in steps],
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


def cell_of(group: Group[SceneTask, Choice]) -> Cell:
    """The figures of one way with one number of concepts."""
    choices = [choice for _, choice in group.pictures]
    stable = [value for choice in choices for value in choice.stable]
    return Cell(
        group.arm,
        group.networks,
        presence=group.mean(presence),
        ahead=group.paired(presence, lambda named, chosen: chosen - named),
        complete=group.mean(lambda task, choice: float(presence(task, choice) == 1.0)).mean,
        right=_by_step([choice.right for choice in choices]),
        weight=_by_step([choice.weight for choice in choices]),
        stable=float(np.mean(stable)) if stable else None,
        ratio=group.ratio,
    )


def _by_step(rows: Sequence[Sequence[float]]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in np.mean(rows, axis=0)) if all(rows) else ()


def _first_mean_last(values: Sequence[float]) -> str:
    return f"{values[0]:.2f} {np.mean(values):.2f} {values[-1]:.2f}" if values else ""
