"""The table pairs pictures of one task, clusters by combination, and says what it cannot say."""

from __future__ import annotations

from typing import Any

import pytest

from loratorio_ext.evaluate.arms import Sampling, arm
from loratorio_ext.evaluate.composlora.records import Picture, Score
from loratorio_ext.evaluate.composlora.summary import CAUTION, NOT_SCORED, markdown, summarize
from loratorio_ext.evaluate.composlora.tasks import Task
from loratorio_ext.settings import Settings

ARMS = [arm(name, Settings(), 5, Sampling(20, 4.0)) for name in ("merge", "loratorio")]


def task(combination: int, number: int, networks: int = 2) -> Task:
    names = tuple(f"n{place}_{combination}" for place in range(networks))
    return Task(names, "anime", "held-out", number, "a, b", "fine, a, b", number)


TASKS = [task(combination, number) for combination in range(3) for number in range(4)]


def pictures(some: list[Task], *names: str) -> list[Picture]:
    return [
        Picture(name, one.key, 120.0 if name == "loratorio" else 40.0, 40.0, 2.0, "cpu")
        for one in some
        for name in names
    ]


def scores(name: str, some: list[Task], values: Any, cut: bool = False) -> dict[tuple[str, str], Score]:
    return {(name, one.key): Score(name, one.key, "0", values(one), cut) for one in some}


def test_paired_differences_are_clustered_by_combination() -> None:
    # The difference is all of the combination's: three clusters, however many pictures.
    found = scores("merge", TASKS, lambda one: 20.0 + one.number)
    found |= scores("loratorio", TASKS, lambda one: 21.0 + one.number + int(one.networks[0][-1]))
    merge, loratorio = summarize(pictures(TASKS, "merge", "loratorio")[::-1], found, ARMS, TASKS)
    assert (merge.arm, loratorio.arm, merge.pictures) == ("merge", "loratorio", 12)
    assert merge.score is not None and merge.score.mean == 21.5
    assert merge.score.error == 0.0  # each combination has the same four numbers
    assert merge.behind is not None
    assert (merge.behind.mean, merge.behind.clusters, merge.behind.pictures) == (2.0, 3, 12)
    assert merge.behind.error == pytest.approx((1 / 3) ** 0.5)
    assert loratorio.behind is None
    assert (merge.ratio, loratorio.ratio, merge.seconds) == (1.0, 3.0, 2.0)


def test_what_is_not_scored_or_not_asked_for_does_not_count() -> None:
    found = scores("merge", TASKS[:5], lambda one: 30.0) | scores("loratorio", TASKS[4:], lambda one: 31.0)
    merge, loratorio = summarize(pictures(TASKS, "merge", "loratorio"), found, ARMS, TASKS[:6])
    assert merge.score is not None and merge.score.pictures == 5
    assert merge.behind is not None and (merge.behind.mean, merge.behind.pictures) == (1.0, 1)
    assert loratorio.score is not None and loratorio.score.pictures == 2
    assert merge.pictures == 6


def test_numbers_of_networks_are_kept_apart() -> None:
    more = [*TASKS, task(7, 0, networks=3)]
    cells = summarize(pictures(more, "merge", "loratorio"), {}, ARMS, more)
    assert [(cell.networks, cell.arm, cell.pictures) for cell in cells] == [
        (2, "merge", 12),
        (2, "loratorio", 12),
        (3, "merge", 1),
        (3, "loratorio", 1),
    ]


@pytest.mark.parametrize("cut", [False, True])
def test_the_page_says_what_it_cannot_say(cut: bool) -> None:
    drawn = pictures(TASKS, "merge")
    page = markdown(summarize(drawn, {}, ARMS, TASKS), {"style": "anime", "arms": "long"}, {"torch": "2.13"})
    assert NOT_SCORED in page and CAUTION in page
    assert "- style: anime\n- torch: 2.13\n" in page and "long" not in page
    found = scores("merge", TASKS, lambda one: 30.0, cut)
    page = markdown(summarize(drawn, found, ARMS, TASKS), {}, {})
    assert NOT_SCORED not in page and "30.00 ± 0.00" in page
    assert ("merge 2: 100%" in page) == cut
