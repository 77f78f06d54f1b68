"""Draws what a store does not hold yet, and lets the judge look at it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from loratorio_ext.evaluate.arms import Arm
from loratorio_ext.evaluate.spread import Each
from loratorio_ext.evaluate.store import Result, Store
from loratorio_ext.evaluate.tasks import Task
from loratorio_ext.hosts.diffusers_host import Request

OnPicture = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""


class Host(Protocol):
    """A model that draws; see `hosts.diffusers_host.DiffusersHost`."""

    def generate(self, request: Request, on_step: Callable[[int, int], None] | None = None) -> Any:
        """Draw one batch of pictures."""


class Judge(Protocol):
    """A classifier of pictures; see `world.judge.Judge`."""

    def scores(self, images: Any) -> Sequence[Mapping[str, Mapping[str, float]]]:
        """For every picture and factor the probability of every value."""


@dataclass(frozen=True)
class World:
    """A model with its networks and its judge.

    Worlds of different training seeds tell whether a finding holds.

    Attributes:
        name: of the world, in results.
        host: the model.
        judge: says what a picture holds.
        networks: folder of the networks.
    """

    name: str
    host: Host
    judge: Judge
    networks: Path


@dataclass(frozen=True)
class Batch:
    """Pictures of one combination, drawn together: name of the world, arm and tasks."""

    world: str
    arm: Arm
    tasks: tuple[Task, ...]

    @property
    def name(self) -> str:
        """The arm, the world and the tasks."""
        return f"{self.arm.name}, {self.world}: {', '.join(task.key for task in self.tasks)}"


def draw(
    store: Store,
    worlds: Sequence[str],
    arms: Sequence[Arm],
    tasks: Sequence[Task],
    batch_size: int,
    on_picture: OnPicture,
    each: Each[Batch, list[Result]],
) -> None:
    """Draw every task by every arm in every world, and keep each batch when it is done.

    What the store holds already is not drawn again. Pictures of one combination are drawn together, since
    they need the same networks, ``batch_size`` at once; a seed gives the same picture in every batch.
    ``each`` draws them, with `drawn`, here or elsewhere.

    Raises:
        ValueError: the model, a network or a setting cannot be used; see `DiffusersHost.generate`.
    """
    wanted = len(worlds) * len(arms) * len(tasks)
    batches = []
    for world, arm in itertools.product(worlds, arms):
        missing = [task for task in tasks if (arm.name, world, task.key) not in store]
        batches += [Batch(world, arm, tuple(some)) for some in _batches(missing, batch_size)]
    done = wanted - sum(len(batch.tasks) for batch in batches)
    results = each(batches)
    on_picture(done, wanted)
    for batch in results:
        store.add(batch)
        done += len(batch)
        on_picture(done, wanted)


def _batches(tasks: Sequence[Task], size: int) -> Iterator[Sequence[Task]]:
    together = sorted(tasks, key=lambda task: task.combination)  # a stable sort: numbers stay in order
    for _, group in itertools.groupby(together, key=lambda task: task.combination):
        pending = list(group)
        yield from (pending[start : start + size] for start in range(0, len(pending), size))


def drawn(worlds: Mapping[str, World], batch: Batch) -> list[Result]:
    """Draw one batch in its world, and let the judge look."""
    world, arm, tasks = worlds[batch.world], batch.arm, batch.tasks
    made = world.host.generate(
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
    totals = made.report.totals
    return [
        Result(
            arm.name,
            world.name,
            task.key,
            {factor: max(seen, key=lambda value: seen[value]) for factor, seen in scores.items()},
            totals.rows / len(tasks),
            totals.plain_rows / len(tasks),
        )
        for task, scores in zip(tasks, world.judge.scores(made.images), strict=True)
    ]
