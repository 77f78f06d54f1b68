"""From records to a table: means whose standard errors know which pictures belong together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from loratorio_lab.evaluate.lines import Record
from loratorio_lab.evaluate.tasks import Task


@dataclass(frozen=True)
class Estimate:
    """A mean over pictures.

    Attributes:
        mean: of all pictures.
        error: its standard error, clustered; None where there are fewer than two clusters.
        pictures: how many.
        clusters: how many groups of pictures that belong together.
    """

    mean: float
    error: float | None
    pictures: int
    clusters: int


def estimate(values: Sequence[float] | npt.NDArray[np.float64], clusters: Sequence[Hashable]) -> Estimate:
    """Mean and clustered standard error.

    Pictures of one combination of networks succeed or fail together, so they count as less than as many
    independent ones: the errors of a cluster are added up before they are squared (Liang and Zeger,
    "Longitudinal data analysis using generalized linear models", Biometrika 73, 1986), with the usual factor
    G / (G − 1) for G clusters.

    Args:
        values: one number for each picture; for a paired difference, the difference of each pair.
        clusters: the cluster of each picture.

    Raises:
        ValueError: no values, or not one cluster for each.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) == 0 or len(numbers) != len(clusters):
        raise ValueError(f"{len(numbers)} values with {len(clusters)} clusters; give one cluster a value")
    mean = float(numbers.mean())
    sums: dict[Hashable, float] = {}
    for cluster, residual in zip(clusters, numbers - mean, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + float(residual)
    groups = len(sums)
    if groups < 2:
        return Estimate(mean, None, len(numbers), groups)
    variance = groups / (groups - 1) * sum(value * value for value in sums.values())
    return Estimate(mean, float(np.sqrt(variance)) / len(numbers), len(numbers), groups)


class Counted(Record, Protocol):
    """A record of a picture."""

    @property
    def key(self) -> tuple[str, str, str]:
        """Arm, world and task's key."""

    @property
    def rows(self) -> float:
        """Predictions that the picture took."""

    @property
    def plain_rows(self) -> float:
        """Predictions that the base alone takes."""


T = TypeVar("T", bound=Task)
R = TypeVar("R", bound=Counted)


@dataclass(frozen=True)
class Group(Generic[T, R]):
    """The pictures of one arm with one number of networks.

    Attributes:
        arm: its name.
        networks: N.
        pictures: task and record of each; at least one.
        reference: world and task's key → record of the arm that others are compared with; empty for itself.
    """

    arm: str
    networks: int
    pictures: Sequence[tuple[T, R]]
    reference: Mapping[tuple[str, str], R]

    def ratio(self) -> float:
        """Predictions, as a multiple of what the base alone takes."""
        return sum(r.rows for _, r in self.pictures) / sum(r.plain_rows for _, r in self.pictures)

    def where(self, condition: Callable[[R], bool]) -> Group[T, R]:
        """The same with those records alone; it may hold none."""
        return replace(
            self,
            pictures=[(task, record) for task, record in self.pictures if condition(record)],
            reference={place: record for place, record in self.reference.items() if condition(record)},
        )

    def mean(self, value: Callable[[T, R], float]) -> Estimate:
        """The mean of a value; clusters are the combinations of networks, of each world its own."""
        return estimate(
            [value(task, record) for task, record in self.pictures],
            [(record.key[1], task.combination) for task, record in self.pictures],
        )

    def paired(
        self, value: Callable[[T, R], float], difference: Callable[[float, float], float]
    ) -> Estimate | None:
        """The mean of ``difference(the reference's value, this arm's)`` over the tasks that both have drawn.

        None where there is no such task, and for the reference itself.
        """
        pairs = [(task, record) for task, record in self.pictures if record.key[1:] in self.reference]
        if not pairs:
            return None
        best = self.reference
        differences = [difference(value(t, best[r.key[1:]]), value(t, r)) for t, r in pairs]
        return estimate(differences, [(r.key[1], t.combination) for t, r in pairs])


def grouped(
    records: Iterable[R], arms: Sequence[str], worlds: Sequence[str], tasks: Sequence[T], reference: str
) -> list[Group[T, R]]:
    """A group for every number of networks and every arm that has records, in this order.

    Args:
        records: in any order; those of other arms, worlds or tasks do not count.
        arms: names of what is compared.
        worlds: names of the worlds that drew.
        tasks: what was asked for.
        reference: name of the arm that the others are compared with.
    """
    known = {record.key: record for record in records}
    best = {key[1:]: record for key, record in known.items() if key[0] == reference}
    groups = []
    for networks in sorted({len(task.networks) for task in tasks}):
        some = [(world, task) for world in worlds for task in tasks if len(task.networks) == networks]
        for arm in arms:
            mine = [(t, known[arm, world, t.key]) for world, t in some if (arm, world, t.key) in known]
            if mine:
                groups.append(Group(arm, networks, mine, {} if arm == reference else best))
    return groups


def shown(value: Estimate | None, sign: str = "", digits: int = 3) -> str:
    """An estimate for a table, "0.812 ± 0.016"; nothing for None. ``sign``: "+" to show it always."""
    if value is None:
        return ""
    error = "" if value.error is None else f" ± {value.error:.{digits}f}"
    return f"{value.mean:{sign}.{digits}f}{error}"


@dataclass(frozen=True)
class Figure(Generic[T, R]):
    """One figure of every group.

    Attributes:
        name: its field in results.json.
        of: calculates it: an `Estimate`, or something else that JSON knows.
        title: its column in the table; empty for none.
        show: what the column says.
    """

    name: str
    of: Callable[[Group[T, R]], Any]
    title: str = ""
    show: Callable[[Any], str] = shown


Cell = tuple[Group[T, R], Mapping[str, Any]]
"""A group and its figures by name."""


def cells_of(groups: Iterable[Group[T, R]], figures: Sequence[Figure[T, R]]) -> list[Cell[T, R]]:
    """Every figure of every group."""
    return [(group, {figure.name: figure.of(group) for figure in figures}) for group in groups]


def table(head: tuple[str, str], figures: Sequence[Figure[T, R]], cells: Sequence[Cell[T, R]]) -> str:
    """A table in Markdown with a line for each cell; `head`: what networks and arms are called in it."""
    columns = [figure for figure in figures if figure.title]
    lines = [[*head, *(figure.title for figure in columns), "pictures"]]
    for group, values in cells:
        told = (figure.show(values[figure.name]) for figure in columns)
        lines.append([str(group.networks), group.arm, *told, str(len(group.pictures))])
    written = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([written[0], "|" + "---|" * len(lines[0]), *written[1:]]) + "\n"
