"""Tasks are the same for everybody, in every process, however many are asked for."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from loratorio_ext.evaluate.tasks import combinations, tasks
from loratorio_ext.networks.prompt import parse_prompt
from loratorio_ext.world.concepts import FACTOR_OF_CONCEPT, FACTORS, named_values


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
    first, longer = tasks(networks, few, split), tasks(networks, few + more, split)
    assert longer[:few] == first
    assert len({task.key for task in longer}) == len(longer)
    counts = [sum(task.concepts == one for task in longer) for one in combinations(networks)]
    assert max(counts) - min(counts) <= 1


def test_a_task_asks_for_its_concepts() -> None:
    for task in tasks(3, 40, "held-out"):
        prompt = parse_prompt(task.prompt)
        assert tuple(tag.name for tag in prompt.tags) == task.concepts
        assert named_values(prompt.text) == dict(task.scene)
        for factor in FACTORS:
            known = task.scene[factor.name] in factor.known
            assert known != any(FACTOR_OF_CONCEPT[concept] == factor for concept in task.concepts)


def test_splits_share_nothing() -> None:
    kept_apart = [{task.seed for task in tasks(2, 200, split)} for split in ("development", "held-out")]
    assert not kept_apart[0] & kept_apart[1]
    assert len(kept_apart[0]) == 200


def test_another_process_has_the_same_tasks() -> None:
    code = "from loratorio_ext.evaluate.tasks import tasks; print([t.seed for t in tasks(4, 5, 'held-out')])"
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert other.stdout.strip() == str([task.seed for task in tasks(4, 5, "held-out")])


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
        tasks(*asked)
