"""The table counts what the judge said, pairs pictures of one task, and keeps the arms apart."""

from __future__ import annotations

import pytest

from loratorio_ext.evaluate.arms import ARM_NAMES, arm
from loratorio_ext.evaluate.store import Result
from loratorio_ext.evaluate.summary import markdown, presence, summarize
from loratorio_ext.evaluate.tasks import Task, tasks
from loratorio_ext.settings import Settings
from loratorio_ext.world.concepts import FACTOR_OF_CONCEPT

TASKS = tasks(2, 48, "held-out")


def answer(task: Task, found: int, rest: bool = True) -> dict[str, str]:
    """A picture with the first ``found`` concepts."""
    seen = dict(task.scene) if rest else {**task.scene, "color": "none"}
    return {**seen, **{FACTOR_OF_CONCEPT[concept].name: "none" for concept in task.concepts[found:]}}


def result(arm_name: str, task: Task, found: int, rest: bool = True) -> Result:
    rows = {"merge": 40.0, "loratorio": 120.0}[arm_name]
    return Result(arm_name, "demo", task.key, answer(task, found, rest), rows, 40.0)


def test_shares_and_paired_differences() -> None:
    results = [result("merge", task, 1) for task in TASKS]
    results += [result("loratorio", task, 2, rest=place % 4 == 0) for place, task in enumerate(TASKS)]
    merge, loratorio = summarize(results[::-1][48:] + results[48:], TASKS)
    assert (merge.arm, merge.networks, merge.ratio) == ("merge", 2, 1.0)
    assert (merge.presence.mean, merge.complete.mean, merge.right.mean) == (0.5, 0.0, 0.0)
    assert merge.behind is not None
    assert (merge.behind.mean, merge.behind.error, merge.behind.clusters) == (0.5, 0.0, 24)
    assert (loratorio.presence.mean, loratorio.complete.mean, loratorio.right.mean) == (1.0, 1.0, 0.25)
    assert loratorio.behind is None
    assert loratorio.ratio == 3.0


def test_what_is_not_paired_or_not_asked_for_does_not_count() -> None:
    results = [result("merge", task, 0) for task in TASKS] + [result("loratorio", TASKS[0], 2)]
    merge, loratorio = summarize(results, TASKS[:24])
    assert merge.presence.pictures == 24
    assert merge.behind is not None
    assert (merge.behind.mean, merge.behind.pictures) == (1.0, 1)
    assert loratorio.presence.error is None
    assert "1.000 |" in markdown([loratorio])


def test_another_concept_of_the_factor_is_not_the_one_asked_for() -> None:
    task = next(task for task in TASKS if "star" in task.concepts)
    assert presence(task, answer(task, 2)) == 1.0
    assert presence(task, {**answer(task, 2), "shape": "heart"}) == 0.5
    assert presence(task, {}) == 0.0


def test_arms_are_what_they_say() -> None:
    settings = Settings(enabled=True, patch_size=4, temperature=0.3, recenter=0.7)
    arms = {name: arm(name, settings, 3) for name in ARM_NAMES}
    assert [arms[name].method for name in ARM_NAMES[:5]] == list(ARM_NAMES[:5])
    assert arms["loratorio"].settings == settings
    assert arms["loratorio-not-recentred"].settings.recenter == 0
    assert arms["uniform-recentred"].settings.temperature == 1000
    for name in ("loratorio-not-recentred", "uniform-recentred"):
        assert (arms[name].method, arms[name].settings.patch_size) == ("loratorio", 4)
    with pytest.raises(ValueError, match="no arm 'mean'; give one of: base"):
        arm("mean", settings, 5)
