"""One evaluation of any suite: plans batches, has them drawn, keeps what they give, writes the table."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from loratorio_ext.cli.console import OK, Console, Interrupted, OnStep, Work
from loratorio_ext.cli.demo_results import versions
from loratorio_ext.cli.writing import prepare_folder, write_text
from loratorio_lab.evaluate.arms import Arm
from loratorio_lab.evaluate.curve import curve
from loratorio_lab.evaluate.lines import Lines
from loratorio_lab.evaluate.spread import Each, Open, alone
from loratorio_lab.evaluate.summary import Cell, Counted, Figure, cells_of, grouped, table
from loratorio_lab.evaluate.tasks import Task
from loratorio_lab.tools import LabTools

A = TypeVar("A", bound=Arm)
T = TypeVar("T", bound=Task)
R = TypeVar("R", bound=Counted)
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
    PLOTTED: ClassVar[str] = ""
    """The figure that is drawn against rows, in results.svg; "": none."""
    HEAD: ClassVar[tuple[str, str]] = ("networks", "method")
    """What networks and arms are called in the table."""

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
    def figures(self, console: Console) -> Sequence[Figure[T, R]]:
        """What the results say of each arm with each number of networks, when everything is drawn."""

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

    def notes(self, cells: Sequence[Cell[T, R]], made_with: Mapping[str, Any]) -> str:
        """What stands below the table in results.md."""
        return ""


def run(suite: Suite[A, T, R, D], arguments: Namespace, tools: LabTools, console: Console, work: Work) -> int:
    """Draw what is not there yet; write results.json, .md and .svg into the suite's folder; print the page.

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
        figures = suite.figures(console)
    except KeyboardInterrupt:
        raise Interrupted(
            f"{len(records)} pictures are kept in {out}; the same command goes on from them"
        ) from None
    names = [arm.name for arm in suite.arms]
    cells = cells_of(grouped(records, names, suite.worlds, suite.tasks, suite.REFERENCE), figures)
    made_with = suite.made_with(records)
    results = {
        "made_with": made_with,
        "about": suite.about,
        "cells": [{"arm": group.arm, "networks": group.networks, **values} for group, values in cells],
    }
    page = table(suite.HEAD, figures, cells) + suite.notes(cells, made_with)
    text = json.dumps(results, indent=2, ensure_ascii=False, default=asdict)
    write_text(out / "results.json", text + "\n")
    write_text(out / "results.md", page)
    if suite.PLOTTED:
        write_text(out / "results.svg", curve(json.loads(text)["cells"], suite.PLOTTED))
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
