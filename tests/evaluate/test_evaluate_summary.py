"""Clustered errors in cases that can be worked out and by a simulation; pictures of one task are paired."""

from __future__ import annotations

from dataclasses import dataclass
from operator import sub

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from loratorio_lab.evaluate.summary import Figure, Group, cells_of, estimate, grouped, shown, table
from loratorio_lab.evaluate.tasks import Task

VALUES = st.lists(st.floats(-10, 10), min_size=2, max_size=30)


@settings(max_examples=50, deadline=None)
@given(VALUES)
def test_every_picture_its_own_cluster_is_the_plain_standard_error(values: list[float]) -> None:
    got = estimate(values, range(len(values)))
    assert got.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert got.error == pytest.approx(np.std(values, ddof=1) / len(values) ** 0.5, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(VALUES, st.integers(2, 5))
def test_copies_of_a_picture_tell_nothing_new(values: list[float], copies: int) -> None:
    once = estimate(values, range(len(values)))
    several = estimate(np.repeat(values, copies), np.repeat(range(len(values)), copies).tolist())
    assert several.error == pytest.approx(once.error, abs=1e-9)
    assert (several.pictures, several.clusters) == (copies * len(values), len(values))


def test_it_is_the_spread_of_means_of_clustered_pictures() -> None:
    random = np.random.default_rng(0)
    clusters = np.repeat(range(30), 8).tolist()

    def draw() -> np.ndarray:
        return np.repeat(random.normal(size=30), 8) + random.normal(size=240)

    errors = [estimate(draw(), clusters).error or 0.0 for _ in range(300)]
    spread = np.std([draw().mean() for _ in range(2000)])
    assert np.mean(errors) == pytest.approx(spread, rel=0.1)


def test_one_cluster_has_no_error_to_tell() -> None:
    assert estimate([0.0, 1.0], ["a", "a"]).error is None


@pytest.mark.parametrize(("values", "clusters"), [([], []), ([1.0], ["a", "b"])])
def test_what_cannot_be(values: list[float], clusters: list[str]) -> None:
    with pytest.raises(ValueError, match="give one cluster a value"):
        estimate(values, clusters)


@dataclass(frozen=True)
class Drawn:
    """A picture's record."""

    arm: str
    world: str
    task: str
    value: float
    rows: float = 40.0
    plain_rows: float = 40.0

    @property
    def key(self) -> tuple[str, str, str]:
        return self.arm, self.world, self.task


def value(task: Task, record: Drawn) -> float:
    return record.value


def task(combination: int, number: int, networks: int = 2) -> Task:
    return Task(tuple(f"n{place}-{combination}" for place in range(networks)), "held-out", number, number)


TASKS = [task(combination, number) for combination in range(3) for number in range(4)]
ARMS = ("merge", "best")


def test_paired_differences_are_clustered_by_combination_in_each_world() -> None:
    # The difference is all of the combination's: three clusters a world, however many pictures.
    records = [
        Drawn(
            arm, world, one.key, 20.0 + one.number + (arm == "best") * int(one.combination[-1]), 20.0 * rows
        )
        for world, one in ((world, one) for world in "ab" for one in TASKS)
        for rows, arm in enumerate(ARMS, 2)
    ]
    merge, best = grouped(records[::-1], ARMS, "ab", TASKS, "best")
    assert (merge.arm, best.arm, merge.networks, len(merge.pictures)) == ("merge", "best", 2, 24)
    mean = merge.mean(value)
    assert (mean.mean, mean.error, mean.clusters) == (21.5, 0.0, 6)  # each combination has the same numbers
    behind = merge.paired(value, sub)
    assert behind is not None and (behind.mean, behind.clusters, behind.pictures) == (1.0, 6, 24)
    assert behind.error == pytest.approx((2 / 3 / 5) ** 0.5)
    ahead = merge.paired(value, lambda reference, mine: mine - reference)
    assert ahead is not None and (ahead.mean, ahead.error) == (-1.0, behind.error)
    assert best.paired(value, sub) is None
    assert (merge.ratio(), best.ratio()) == (1.0, 1.5)


def test_what_is_not_paired_or_not_asked_for_does_not_count() -> None:
    records = [Drawn("merge", "a", one.key, 1.0) for one in TASKS]
    records += [Drawn("best", "a", TASKS[0].key, 3.0), Drawn("other", "a", TASKS[0].key, 9.0)]
    records += [Drawn("merge", "b", TASKS[0].key, 9.0)]
    merge, best = grouped(records, ARMS, "a", TASKS[:6], "best")
    assert merge.mean(value).pictures == 6
    behind = merge.paired(value, sub)
    assert behind is not None and (behind.mean, behind.pictures, behind.error) == (2.0, 1, None)
    assert best.mean(value).pictures == 1
    some = merge.where(lambda record: record.task != TASKS[0].key)
    assert len(some.pictures) == 5
    assert some.paired(value, sub) is None


def test_numbers_of_networks_are_kept_apart_and_arms_in_order() -> None:
    more = [task(7, 0, networks=3), *TASKS]
    records = [Drawn(arm, "a", one.key, 1.0) for arm in ("best", "merge") for one in more]
    groups = grouped(records, ARMS, "a", more, "best")
    assert [(group.networks, group.arm, len(group.pictures)) for group in groups] == [
        (2, "merge", 12),
        (2, "best", 12),
        (3, "merge", 1),
        (3, "best", 1),
    ]


def test_the_table() -> None:
    figures = [
        Figure("mean", lambda group: group.mean(value), "mean ± error"),
        Figure("ahead", lambda group: group.paired(value, sub), "ahead", lambda one: shown(one, "+", 1)),
        Figure("rows", Group.ratio),
    ]
    records = [
        Drawn(arm, "a", one.key, one.number + place) for place, arm in enumerate(ARMS) for one in TASKS
    ]
    cells = cells_of(grouped(records, ARMS, "a", TASKS, "best"), figures)
    assert [values["rows"] for _, values in cells] == [1.0, 1.0]
    assert table(("networks", "way"), figures, cells).splitlines() == [
        "| networks | way | mean ± error | ahead | pictures |",
        "|---|---|---|---|---|",
        "| 2 | merge | 1.500 ± 0.000 | +1.0 ± 0.0 | 12 |",
        "| 2 | best | 2.500 ± 0.000 |  | 12 |",
    ]
