"""Draws what a store does not hold yet, and looks at which networks were chosen."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loratorio_ext.evaluate.draw import OnPicture, World
from loratorio_ext.evaluate.lines import Lines
from loratorio_ext.evaluate.pool.arms import PoolArm
from loratorio_ext.evaluate.spread import Each
from loratorio_ext.evaluate.tasks import Task
from loratorio_ext.hosts.diffusers_host import Request
from loratorio_ext.world.concepts import caption

SCHEMA: Final = "loratorio.evaluation.pool"
SCHEMA_VERSION: Final = 1


@dataclass(frozen=True)
class Choice:
    """A picture from a pool.

    Attributes:
        arm: name of the way.
        world: name of the world that drew it.
        task: key of the task.
        answers: what the judge sees, one value for each factor.
        rows: predictions that the picture took.
        plain_rows: predictions that the base alone takes.
        right: for each step the share of the networks asked for that could act; empty where none was chosen.
        weight: for each step the share of all weight that the networks asked for had; empty likewise.
        stable: for each step but the first the share of the acting networks that acted before too.
    """

    arm: str
    world: str
    task: str
    answers: Mapping[str, str]
    rows: float
    plain_rows: float
    right: Sequence[float]
    weight: Sequence[float]
    stable: Sequence[float]

    @property
    def key(self) -> tuple[str, str, str]:
        """No two have the same."""
        return self.arm, self.world, self.task


@dataclass(frozen=True)
class PoolBatch:
    """Pictures drawn together: name of the world, arm and tasks."""

    world: str
    arm: PoolArm
    tasks: tuple[Task, ...]

    @property
    def name(self) -> str:
        """The arm, the world and the tasks."""
        return f"{self.arm.name}, {self.world}: {', '.join(task.key for task in self.tasks)}"


def open_choices(path: Path, about: Mapping[str, Any]) -> Lines[Choice]:
    """The pictures of one evaluation on disk; errors as for `Lines`."""
    return Lines(path, about, schema=SCHEMA, version=SCHEMA_VERSION, record=Choice)


def draw(
    store: Lines[Choice],
    worlds: Sequence[str],
    arms: Sequence[PoolArm],
    tasks: Sequence[Task],
    batch_size: int,
    on_picture: OnPicture,
    each: Each[PoolBatch, list[Choice]],
) -> None:
    """Draw every task in every way in every world, and keep each batch when it is done.

    ``each`` draws the batches, with `drawn`, here or elsewhere.

    Raises:
        ValueError: the model, a network or a setting cannot be used; see `DiffusersHost.generate`.
    """
    batches = []
    for world, arm in itertools.product(worlds, arms):
        missing = [task for task in tasks if (arm.name, world, task.key) not in store]
        batches += [PoolBatch(world, arm, tuple(some)) for some in _together(missing, arm, batch_size)]
    wanted = len(worlds) * len(arms) * len(tasks)
    done = wanted - sum(len(batch.tasks) for batch in batches)
    results = each(batches)
    on_picture(done, wanted)
    for made in results:
        store.add(made)
        done += len(made)
        on_picture(done, wanted)


def _together(tasks: Sequence[Task], arm: PoolArm, size: int) -> Iterator[Sequence[Task]]:
    """Tags are the same for a whole batch; where the prompt names none, any tasks may share one."""
    groups: dict[str, list[Task]] = {}
    for task in tasks:
        groups.setdefault("" if arm.size else task.combination, []).append(task)
    for group in groups.values():
        yield from (group[start : start + size] for start in range(0, len(group), size))


def drawn(worlds: Mapping[str, World], pools: Callable[[str, int], Path], batch: PoolBatch) -> list[Choice]:
    """Draw one batch in its world, and let the judge look.

    Args:
        worlds: by name.
        pools: the folder of a world's pool of a size.
        batch: what is drawn.
    """
    world, arm, tasks = worlds[batch.world], batch.arm, batch.tasks
    made = world.host.generate(
        Request(
            prompts=[caption(task.scene) if arm.size else task.prompt for task in tasks],
            seeds=[task.seed for task in tasks],
            steps=arm.sampling.steps,
            cfg=arm.sampling.cfg,
            settings=arm.settings,
            method=arm.method,
            network_dir=pools(world.name, arm.size) if arm.size else world.networks,
        )
    )
    totals, composed = made.report.totals, made.report.composed
    steps = [step for step in made.report.steps if step.mode == "composed"]
    results = []
    for image, (task, scores) in enumerate(zip(tasks, world.judge.scores(made.images), strict=True)):
        wanted = set(task.concepts)
        acting = [set(step.chosen[image]) for step in steps]
        results.append(
            Choice(
                arm.name,
                world.name,
                task.key,
                {factor: max(seen, key=lambda value: seen[value]) for factor, seen in scores.items()},
                totals.rows / len(tasks),
                totals.plain_rows / len(tasks),
                [_rounded(len(names & wanted) / len(wanted)) for names in acting],
                [_rounded(_weight(step, composed, wanted, image)) for step in steps],
                [
                    _rounded(len(now & before) / max(len(now), 1))
                    for before, now in itertools.pairwise(acting)
                ],
            )
        )
    return results


def _weight(step: Any, composed: Sequence[str], wanted: set[str], image: int) -> float:
    """The part of all weight that the networks asked for have at a step."""
    of_image = {name: row[image] or 0.0 for name, row in zip(composed, step.weight, strict=True)}
    total = sum(of_image.values())
    return sum(weight for name, weight in of_image.items() if name in wanted) / total if total else 0.0


def _rounded(value: float) -> float:
    return round(value, 4)
