"""The table counts what the judge said, pairs pictures of one task, and keeps the arms apart."""

from __future__ import annotations

import pytest

from loratorio_ext.evaluate.arms import ARM_NAMES, Sampling, arm, swept, values_of
from loratorio_ext.evaluate.store import Result
from loratorio_ext.evaluate.summary import markdown, presence, summarize
from loratorio_ext.evaluate.tasks import Task, tasks
from loratorio_ext.settings import Settings
from loratorio_ext.world.concepts import FACTOR_OF_CONCEPT

TASKS = tasks(2, 48, "held-out")
SAMPLING = Sampling(20, 4.0)


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
    settings = Settings(enabled=True, patch_size=4, temperature=0.3, recenter=0.7, gain=0.4, reuse=2)
    arms = {name: arm(name, settings, 3, SAMPLING) for name in ARM_NAMES}
    assert [arms[name].method for name in ARM_NAMES[:5]] == list(ARM_NAMES[:5])
    assert arms["merge-recentred"].method == "merge-recentred"
    assert arms["loratorio"].settings == settings
    changed = {
        name: {
            key: value for key, value in one.settings.to_dict().items() if value != settings.to_dict()[key]
        }
        for name, one in arms.items()
    }
    as_published = {"weighting": "difference", "recenter": 0.5, "gain": 0.0, "reuse": 1, "score": "step"}
    assert {name: change for name, change in changed.items() if change} == {
        "loratorio-paper": {**as_published, "temperature": 0.02},
        "loratorio-fast": {"reuse": 4},
        "loratorio-uniform": {"weighting": "difference", "temperature": 1000.0},
        "loratorio-not-recentred": {"recenter": 0.0},
        "loratorio-without-gain": {"gain": 0.0},
        "merge-recentred": {"recenter": 0.5},
        "composite-recentred": {**as_published, "temperature": 1000.0},
    }
    assert {one.method for name, one in arms.items() if name in changed and "-" in name} == {
        "loratorio",
        "merge-recentred",
    }
    with pytest.raises(ValueError, match="no arm 'mean'; give one of: base"):
        arm("mean", settings, 5, SAMPLING)


def test_a_sweep_changes_one_thing_in_the_arms_that_have_it() -> None:
    arms = [arm(name, Settings(), 5, SAMPLING) for name in ("merge", "switch", "loratorio")]
    of_setting = swept(arms, "temperature", values_of("temperature", "0.5, 2"))
    assert [(one.name, one.settings.temperature) for one in of_setting] == [
        ("loratorio temperature=0.5", 0.5),
        ("loratorio temperature=2.0", 2.0),
    ]
    of_switch = swept(arms, "switch_every", values_of("switch_every", "1,2"))
    assert [(one.name, one.switch_every) for one in of_switch] == [
        ("switch switch_every=1", 1),
        ("switch switch_every=2", 2),
    ]
    of_cfg = swept(arms, "cfg", values_of("cfg", "6"))
    assert [(one.name, one.sampling) for one in of_cfg] == [
        (f"{name} cfg=6.0", Sampling(20, 6.0)) for name in ("merge", "switch", "loratorio")
    ]
    assert swept(arms, "steps", values_of("steps", "9"))[0].sampling == Sampling(9, 4.0)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("temperature", "0", "temperature is 0.0"),
        ("temperature", "1,", "temperature is ''"),
        ("cfg", "0.5", "cfg is '0.5'; give numbers from 1 to 1000"),
        ("cfg", "nan", "cfg is 'nan'"),
        ("steps", "2.5", "steps is '2.5'"),
        ("switch_every", "0", "switch_every is '0'"),
        ("enabled", "true", "'enabled' cannot be swept; give one of: cfg"),
        ("pool", "a", "'pool' cannot be swept"),
        ("heat", "1", "'heat' cannot be swept"),
    ],
)
def test_wrong_sweeps_are_refused(name: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        values_of(name, text)


def test_a_sweep_that_changes_nothing_is_refused() -> None:
    arms = [arm("merge", Settings(), 5, SAMPLING)]
    with pytest.raises(ValueError, match="temperature makes no difference to merge"):
        swept(arms, "temperature", (1.0,))
