"""Tasks are the same for everybody, in every process; what counts as a concept that is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from loratorio_ext.cli.judge import FACTORS
from loratorio_ext.networks.prompt import parse_prompt
from loratorio_lab.evaluate.embedded import FIGURES
from loratorio_lab.evaluate.summary import cells_of, grouped, table
from loratorio_lab.evaluate.worlds import Answer, SceneTask, combinations, presence, scene_tasks
from loratorio_lab.world.concepts import FACTOR_OF_CONCEPT


@pytest.mark.parametrize(("networks", "count"), [(1, 8), (2, 24), (3, 32), (4, 16)])
def test_combinations_hold_one_concept_of_a_factor(networks: int, count: int) -> None:
    every = combinations(networks)
    assert len(set(every)) == len(every) == count
    assert all(len({FACTOR_OF_CONCEPT[concept] for concept in one}) == networks for one in every)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 80), st.integers(1, 80), st.sampled_from(["development", "held-out"])
)
def test_more_pictures_keep_the_first_ones(networks: int, few: int, more: int, split: Any) -> None:
    first, longer = scene_tasks(networks, few, split), scene_tasks(networks, few + more, split)
    assert longer[:few] == first
    assert len({task.key for task in longer}) == len(longer)
    counts = [sum(task.networks == one for task in longer) for one in combinations(networks)]
    assert max(counts) - min(counts) <= 1


def test_a_task_asks_for_its_concepts(named_values: Any) -> None:
    for task in scene_tasks(3, 40, "held-out"):
        prompt = parse_prompt(task.prompt)
        assert tuple(tag.name for tag in prompt.tags) == task.networks
        assert named_values(prompt.text) == dict(task.scene)
        for factor in FACTORS:
            known = task.scene[factor.name] in factor.known
            assert known != any(FACTOR_OF_CONCEPT[concept] == factor for concept in task.networks)


def test_splits_share_nothing() -> None:
    kept_apart = [{task.seed for task in scene_tasks(2, 200, split)} for split in ("development", "held-out")]
    assert not kept_apart[0] & kept_apart[1]
    assert len(kept_apart[0]) == 200


def test_tasks_are_the_same_everywhere() -> None:
    assert [(task.key, task.seed) for task in scene_tasks(4, 3, "held-out")] == [
        ("checkered+star+sunset+moon held-out 0", 668128738),
        ("checkered+star+sunset+flower held-out 0", 3331917687),
        ("checkered+star+grid+moon held-out 0", 2642158260),
    ]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ((0, 5, "held-out"), "networks is 0; give 1 to 4"),
        ((5, 5, "held-out"), "networks is 5"),
        ((2, 0, "held-out"), "pictures is 0"),
        ((2, 5, "test"), "split is 'test'; give one of: development, held-out"),
    ],
)
def test_what_cannot_be(asked: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        scene_tasks(*asked)


TASKS = scene_tasks(2, 48, "held-out")


def answer(arm: str, task: SceneTask, found: int, rest: bool = True) -> Answer:
    """A picture with the first ``found`` concepts, and with or without the rest of its caption."""
    seen = dict(task.scene) if rest else {**task.scene, "color": "none"}
    seen |= {FACTOR_OF_CONCEPT[concept].name: "none" for concept in task.networks[found:]}
    return Answer(arm, "demo", task.key, seen, {"merge": 40.0, "loratorio": 120.0}[arm], 40.0)


def test_shares_of_what_the_judge_finds() -> None:
    answers = [answer("merge", task, 1) for task in TASKS]
    answers += [answer("loratorio", task, 2, rest=place % 4 == 0) for place, task in enumerate(TASKS)]
    groups = grouped(answers, ["merge", "loratorio"], ["demo"], TASKS, "loratorio")
    cells = cells_of(groups, FIGURES)
    merge, loratorio = (values for _, values in cells)
    assert list(merge) == ["presence", "complete", "right", "behind", "ratio"]  # as in results.json
    assert [merge[name].mean for name in ("presence", "complete", "right")] == [0.5, 0.0, 0.0]
    assert (merge["behind"].mean, merge["behind"].error, merge["behind"].clusters) == (0.5, 0.0, 24)
    assert [loratorio[name].mean for name in ("presence", "complete", "right")] == [1.0, 1.0, 0.25]
    assert (merge["ratio"], loratorio["behind"], loratorio["ratio"]) == (1.0, None, 3.0)
    line = "| 2 | merge | 0.500 ± 0.000 | 0.000 | 0.000 | +0.500 ± 0.000 | 1.00 | 48 |"
    assert line in table(("networks", "method"), FIGURES, cells)


def test_another_concept_of_the_factor_is_not_the_one_asked_for() -> None:
    task = next(task for task in TASKS if "star" in task.networks)
    whole = answer("merge", task, 2)
    assert presence(task, whole) == 1.0
    assert presence(task, replace(whole, answers={**whole.answers, "shape": "heart"})) == 0.5
    assert presence(task, replace(whole, answers={})) == 0.0
