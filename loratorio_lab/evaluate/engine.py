"""One evaluation of any suite: plans batches, has them drawn, keeps what they give, writes the table."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from loratorio_ext.cli.console import OK, Console, Interrupted, OnStep, Work
from loratorio_ext.cli.demo_results import versions
from loratorio_ext.cli.writing import prepare_folder, write_text
from loratorio_lab.evaluate.lines import Lines
from loratorio_lab.evaluate.spread import Each, Open, alone
from loratorio_lab.evaluate.summary import Counted, Group, grouped, table
from loratorio_lab.evaluate.tasks import Task
from loratorio_lab.tools import LabTools


class Arm(Protocol):
    """A dataclass of everything that decides its pictures but the task."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def name(self) -> str:
        """No two arms of an evaluation have the same."""


class Record(Counted, Protocol):
    """A dataclass of what is kept of a picture; see `lines.Record`."""

    __dataclass_fields__: ClassVar[dict[str, Any]]


A = TypeVar("A", bound=Arm)
T = TypeVar("T", bound=Task)
R = TypeVar("R", bound=Record)
D = TypeVar("D")


@dataclass(frozen=True)
class Batch(Generic[A, T]):
    """Pictures drawn together, by one arm in one world."""

    arm: A
    world: str
    tasks: tuple[T, ...]

    @property
    def name(self) -> str:
        """The arm, the world if it has a name, and the tasks; no two batches have the same."""
        place = f"{self.arm.name}, {self.world}" if self.world else self.arm.name
        return f"{place}: {', '.join(task.key for task in self.tasks)}"


class Suite(ABC, Generic[A, T, R, D]):
    """What an evaluation says for itself.

    Its type variables: arm, task, the record that is kept of a picture, and what drawing gives for a picture.
    """

    FILE: ClassVar[str]
    """Where the records are kept, in `out`."""
    SCHEMA: ClassVar[str]
    """Name of the format of its lines, whose version is 1."""
    REFERENCE: ClassVar[str]
    """Name of the arm that the others are compared with."""
    COLUMNS: ClassVar[Sequence[tuple[str, Callable[[Any], str]]]]
    """Of the table: title, and what it says of a cell."""

    def __init__(
        self,
        out: Path,
        record: Callable[..., R],
        arms: Sequence[A],
        worlds: Sequence[str],
        tasks: Sequence[T],
        about: Mapping[str, Any],
    ) -> None:
        """Everything that decides the pictures, checked.

        Args:
            out: folder of its files.
            record: makes a record of a line's values.
            arms: the ways that are compared.
            worlds: names of the models that draw; one empty name where there is but one model.
            tasks: what each arm draws in each world.
            about: the same as JSON: files of an evaluation of something else are not continued.
        """
        self.out = out
        self.record = record
        self.arms = arms
        self.worlds = worlds
        self.tasks = tasks
        self.about = about

    @abstractmethod
    def opener(self) -> Open[Batch[A, T], list[D]]:
        """Opens the model, here or in a worker elsewhere, so it can be pickled; gives what draws a batch."""

    @abstractmethod
    def keep(self, records: Lines[R], drawn: Sequence[D], warn: Callable[[str], None]) -> None:
        """Put what a batch gave on disk."""

    @abstractmethod
    def cells(self, groups: Sequence[Group[T, R]], console: Console) -> list[Any]:
        """A dataclass of figures for each group: a line of the table."""

    def prepare(self, console: Console) -> None:
        """Before the first batch, when the folder is there."""
        return

    def is_there(self, records: Lines[R], arm: A, world: str, task: T) -> bool:
        """Whether the picture need not be drawn."""
        return (arm.name, world, task.key) in records

    def share(self, arm: A, task: T) -> str:
        """Tasks with the same answer may share a batch: those of one combination need the same networks."""
        return task.combination

    def made_with(self, records: Lines[R]) -> dict[str, Any]:
        """What else than `about` may make another result, such as versions; and the day (UTC)."""
        return {"date": datetime.now(timezone.utc).strftime("%Y-%m-%d"), **versions()}

    def page(self, cells: Sequence[Any], made_with: Mapping[str, Any]) -> str:
        """results.md."""
        return table(self.COLUMNS, cells)


def run(suite: Suite[A, T, R, D], arguments: Namespace, tools: LabTools, console: Console, work: Work) -> int:
    """Draw what is not there yet; write results.json and results.md into the suite's folder; print the page.

    Raises:
        ValueError: something that the suite needs cannot be used, or its folder holds another evaluation.
        Interrupted: Ctrl-C; what was kept is there when the same command is given again.
    """
    if arguments.workers == 1:
        each: Each[Batch[A, T], list[D]] = alone(suite.opener())
    else:
        each = tools.over_workers(suite.opener(), arguments.workers, console.note)
    out = prepare_folder(suite.out)
    records: Lines[R] = Lines(
        out / suite.FILE, suite.about, schema=suite.SCHEMA, version=1, record=suite.record
    )
    if len(records):
        console.note(f"{len(records)} pictures are there already, in {out}")
    suite.prepare(console)
    try:
        with console.progress("evaluate", "picture") as bar:
            draw(suite, records, arguments.batch, each, work.watch(bar), console.warn)
        names = [arm.name for arm in suite.arms]
        groups = grouped(records, names, suite.worlds, suite.tasks, suite.REFERENCE)
        cells = suite.cells(groups, console)
    except KeyboardInterrupt:
        raise Interrupted(
            f"{len(records)} pictures are kept in {out}; the same command goes on from them"
        ) from None
    made_with = suite.made_with(records)
    results = {"made_with": made_with, "about": suite.about, "cells": [asdict(cell) for cell in cells]}
    page = suite.page(cells, made_with)
    write_text(out / "results.json", json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    write_text(out / "results.md", page)
    console.result(page)
    console.result(str(out / "results.md"))
    return OK


def draw(
    suite: Suite[A, T, R, D],
    records: Lines[R],
    size: int,
    each: Each[Batch[A, T], list[D]],
    on_picture: OnStep,
    warn: Callable[[str], None],
) -> None:
    """Draw every task by every arm in every world, and keep each batch when it is done.

    What is there already is not drawn again. A seed gives the same picture in every batch.

    Args:
        suite: says what there is to draw.
        records: what is there.
        size: most pictures in a batch.
        each: draws batches with what `Suite.opener` opens, here or elsewhere.
        on_picture: called with (pictures done, pictures in all).
        warn: told what a run could not do.

    Raises:
        ValueError: the model, a network or a setting cannot be used; see `DiffusersHost.generate`.
    """
    batches = list(_plan(suite, records, size))
    wanted = len(suite.worlds) * len(suite.arms) * len(suite.tasks)
    done = wanted - sum(len(batch.tasks) for batch in batches)
    results = each(batches)
    on_picture(done, wanted)
    for drawn in results:
        suite.keep(records, drawn, warn)
        done += len(drawn)
        on_picture(done, wanted)


def _plan(suite: Suite[A, T, R, D], records: Lines[R], size: int) -> Iterator[Batch[A, T]]:
    for world in suite.worlds:
        for arm in suite.arms:
            together: dict[str, list[T]] = {}
            for task in suite.tasks:
                if not suite.is_there(records, arm, world, task):
                    together.setdefault(suite.share(arm, task), []).append(task)
            for some in together.values():
                for start in range(0, len(some), size):
                    yield Batch(arm, world, tuple(some[start : start + size]))


def about_arms(arms: Sequence[A]) -> list[dict[str, Any]]:
    """The arms as JSON, for `Suite.about`."""
    return [asdict(arm) for arm in arms]
