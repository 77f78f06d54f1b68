"""Steps in which networks are not evaluated: what each added last is added again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from loratorio_ext.run import Prediction
from loratorio_ext.settings import Settings
from tests.run.world import World, same, uses, worlds

fast = settings(deadline=None, max_examples=40)


def steps(world: Any, chosen: Settings, total: int, **changes: Any) -> tuple[list[Prediction], Any]:
    run = world.run(chosen)
    return [run.step(world.evaluation(index, **changes)) for index in range(total)], run.report


@given(data=st.data(), reuse=st.integers(1, 5), recenter=st.sampled_from([0.0, 0.5, 1.0]))
@fast
def test_while_nothing_changes_nothing_is_lost(data: st.DataObject, reuse: int, recenter: float) -> None:
    world = data.draw(worlds())
    chosen = Settings(looks=0, recenter=recenter, reuse=reuse)
    expected, _ = steps(world, replace(chosen, reuse=1), 6)
    world.model.calls.clear()
    got, report = steps(world, chosen, 6)
    for one, other in zip(got, expected, strict=True):
        same(one, other)
    assert [step.reused for step in report.steps] == [index % reuse != 0 for index in range(6)]
    for index, call in enumerate(world.model.calls):
        assert {row.source for row in call if row.source != "base"} == (
            set() if index % reuse else set(range(len(report.composed)))
        )


@given(data=st.data(), scale=st.floats(0.1, 10), recenter=st.sampled_from([0.3, 1.0]))
@fast
def test_noise_is_held_and_the_base_is_new(data: st.DataObject, scale: float, recenter: float) -> None:
    """At the second step a prediction means less noise, so the same noise is a larger prediction."""
    world = data.draw(worlds())
    chosen = Settings(looks=0, recenter=recenter, reuse=2)
    run = world.run(chosen)
    run.step(world.evaluation(0, noise_scale=1.0))
    for branch in ("cond", "uncond"):
        world.model.base[branch] = world.model.base[branch] + 0.3
    got = run.step(world.evaluation(1, noise_scale=1 / scale))
    for branch in ("cond", "uncond"):
        composed = [place for place, use in enumerate(world.uses) if use.compose]
        world.model.deltas[branch][composed] *= scale
    same(got, world.run(chosen).step(world.evaluation(0)))


def test_a_scan_comes_when_it_is_due_and_the_chosen_ones_are_held() -> None:
    world = World(uses(5), images=2)
    chosen = Settings(looks=0, recenter=0.5, top_k=2, rescan=5, reuse=2)
    expected, _ = steps(world, replace(chosen, reuse=1), 7)
    got, report = steps(world, chosen, 7)
    for one, other in zip(got, expected, strict=True):
        same(one, other)
    assert [step.scan for step in report.steps] == [index in (0, 5) for index in range(7)]
    assert [step.reused for step in report.steps] == [index in (1, 3) for index in range(7)]
    assert [step.chosen for step in report.steps] == [report.steps[0].chosen] * 7


def test_a_step_without_guidance_in_between() -> None:
    """Unconditional predictions that nobody has made yet are made, whosever turn it is."""
    world = World(uses(2))
    run = world.run(Settings(looks=0, recenter=0.5, reuse=4))
    for index, guided in enumerate([False, True, True, False]):
        expected = world.run(Settings(looks=0, recenter=0.5)).step(world.evaluation(index, guided=guided))
        same(run.step(world.evaluation(index, guided=guided)), expected)
    assert [step.reused for step in run.report.steps] == [False, False, True, True]


def test_another_number_of_images_is_evaluated_anew() -> None:
    one, two = World(uses(2)), World(uses(2), images=2)
    run = one.run(Settings(looks=0, reuse=5))
    run.step(one.evaluation(0))
    run.step(two.evaluation(1))
    assert [step.reused for step in run.report.steps] == [False, False]


def test_counted_from_the_start_of_the_window() -> None:
    world = World(uses(2), total=10)
    _, report = steps(world, Settings(looks=0, reuse=3, start=0.2), 10)
    fresh = [step.index for step in report.steps if step.mode == "composed" and not step.reused]
    assert fresh == [2, 5, 8]


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_what_was_not_finite_keeps_quiet_until_it_is_evaluated_again(broken: float) -> None:
    world = World(uses(2))
    healthy = world.model.deltas["cond"][0].copy()
    run = world.run(Settings(looks=0, recenter=0.5, gain=0.0, reuse=2))
    world.model.deltas["cond"][0] = broken
    first = run.step(world.evaluation(0))
    world.model.deltas["cond"][0] = healthy
    second, third = run.step(world.evaluation(1)), run.step(world.evaluation(2))
    same(second, first)
    same(third, world.run().step(world.evaluation(2)))
    assert [step.non_finite for step in run.report.steps] == [("network 0",), ("network 0",), ()]


def test_half_precision_is_held_in_more() -> None:
    world = World(uses(2))
    world.model.dtype = torch.float16
    got, _ = steps(world, Settings(looks=0, reuse=2), 2)
    assert got[1].cond.dtype == torch.float16
    torch.testing.assert_close(got[1].cond, got[0].cond, rtol=0, atol=4e-3)
