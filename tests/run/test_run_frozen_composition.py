"""Further predictions at a step: the same sources and weights, other inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from loratorio_ext.method import RowMap
from loratorio_ext.run import FrozenComposition, Prediction
from loratorio_ext.settings import Settings
from tests.run.world import World, reference, uses

fast = settings(deadline=None, max_examples=40)
EVERY = slice(None)


def asked(
    frozen: FrozenComposition, branch: str, rows: slice, outputs: Mapping[Any, torch.Tensor]
) -> torch.Tensor:
    """The host's part: no prediction is there that was not asked for."""
    sources = frozen.sources(branch, rows)
    return frozen.prediction(branch, rows, {source: outputs[source] for source in sources})


def outputs_of(world: Any, branch: str, rows: slice) -> dict[Any, torch.Tensor]:
    """What each source predicts, as the model is now."""
    place = ("cond", "uncond").index(branch)
    composed = range(sum(use.compose for use in world.uses))
    strengths = {"base": world.kept(), "merged": world.merged()} | {i: world.alone(i) for i in composed}
    return {
        source: torch.from_numpy(world.arrays(values)[place][rows]) for source, values in strengths.items()
    }


@given(
    networks=st.integers(1, 4),
    images=st.integers(1, 2),
    more=st.lists(st.integers(0, 1), max_size=2),
    chosen=st.builds(
        Settings,
        looks=st.just(0),
        recenter=st.sampled_from([0.0, 0.4, 1.0]),
        gain=st.sampled_from([0.0, 0.5, 1.0]),
        top_k=st.integers(0, 3),
        rescan=st.just(2),
        reuse=st.integers(1, 2),
        start=st.sampled_from([0.0, 0.5]),
        patch_size=st.just(2),
    ),
    seed=st.integers(0, 1000),
)
@fast
def test_the_same_input_gives_the_same_prediction(
    networks: int, images: int, more: list[int], chosen: Settings, seed: int
) -> None:
    owners = (*range(images), *(image % images for image in more))
    rows = RowMap(owners, tuple(1.0 + row for row in range(len(owners))))
    world = World(uses(networks, kept=1), images=images, rows=rows, seed=seed, total=4)
    run = world.run(chosen)
    for index in range(4):
        prediction = run.step(world.evaluation(index))
        for row in range(len(owners)):
            rows = slice(row, row + 1)
            got = asked(prediction.frozen, "cond", rows, outputs_of(world, "cond", rows))
            torch.testing.assert_close(got, prediction.cond[rows], rtol=0, atol=1e-9)
        got = asked(prediction.frozen, "uncond", EVERY, outputs_of(world, "uncond", EVERY))
        torch.testing.assert_close(got, prediction.uncond, rtol=0, atol=1e-9)


@pytest.mark.parametrize("branch", ["cond", "uncond"])
def test_another_input_is_weighted_as_the_step_was(branch: str) -> None:
    chosen = Settings(looks=0, recenter=0.3, gain=0.0, patch_size=1, weighting="difference", temperature=0.3)
    world = World(uses(3), images=2)
    frozen = world.run(chosen).step(world.evaluation()).frozen
    _, _, weights = reference(world, chosen)
    for part in (world.model.base, world.model.deltas):
        part[branch] = part[branch] * 0.7 + 0.1
    outputs = {source: one.numpy() for source, one in outputs_of(world, branch, EVERY).items()}
    expected = sum(weights[i][:, None] * outputs[i] for i in range(3))
    if branch == "uncond":
        expected = 0.3 * outputs["base"] + 0.7 * expected
    got = asked(frozen, branch, EVERY, outputs_of(world, branch, EVERY))
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_between_two_evaluations_what_was_added_is_added() -> None:
    """Networks are not asked, as they were not at this step."""
    world = World(uses(2))
    run = world.run(Settings(looks=0, recenter=0.5, reuse=2))
    run.step(world.evaluation(0))
    prediction = run.step(world.evaluation(1))
    before = outputs_of(world, "cond", EVERY)["base"]
    world.model.base["cond"] = world.model.base["cond"] * 3
    assert prediction.frozen.sources("cond", EVERY) == ("base",)
    got = asked(prediction.frozen, "cond", EVERY, outputs_of(world, "cond", EVERY))
    torch.testing.assert_close(got - prediction.cond, 2 * before)


def test_networks_without_a_say_are_not_asked() -> None:
    world = World(uses(4), images=2)
    frozen = world.run(Settings(looks=0, top_k=1, recenter=0.5)).step(world.evaluation()).frozen
    for row in range(2):
        assert len(frozen.sources("cond", slice(row, row + 1))) == 2
    frozen = world.run(Settings(looks=0, recenter=1.0)).step(world.evaluation()).frozen
    assert frozen.sources("uncond", EVERY) == ("base",)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_network_that_is_not_finite_says_what_the_base_says(value: float) -> None:
    world = World(uses(2))
    frozen = world.run(Settings(looks=0, temperature=100.0, gain=0.0)).step(world.evaluation()).frozen
    outputs = outputs_of(world, "cond", EVERY)
    whole = asked(frozen, "cond", EVERY, outputs | {0: outputs["base"]})
    broken = asked(frozen, "cond", EVERY, outputs | {0: torch.full_like(outputs[0], value)})
    assert torch.equal(whole, broken)


@pytest.mark.parametrize("method", ["switch", "composite", "merge-recentred"])
def test_ways_for_comparison_are_not_asked_again(method: str) -> None:
    world = World(uses(2))
    prediction: Prediction = world.run(method=method).step(world.evaluation())
    assert prediction.frozen is None
