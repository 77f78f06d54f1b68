"""The step against a plain reference, and the facts of the method for whole runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from loratorio_ext.method import RowMap
from loratorio_ext.run import NetworkUse
from loratorio_ext.settings import Settings
from tests.run.world import World, reference, same, uses, worlds

fast = settings(deadline=None, max_examples=25)
CLOSE = {"rtol": 0, "atol": 1e-10}


def close(prediction: torch.Tensor | None, expected: np.ndarray) -> None:
    assert prediction is not None
    np.testing.assert_allclose(prediction.numpy(), expected, **CLOSE)


method_settings = st.builds(
    Settings,
    looks=st.just(0),
    patch_size=st.integers(1, 6),
    temperature=st.sampled_from([0.01, 0.1, 1.0]),
    weighting=st.sampled_from(["difference", "relative"]),
    gain=st.sampled_from([0.0, 0.35, 1.0]),
    top_k=st.integers(0, 5),
    top_k_scope=st.sampled_from(["image", "patch"]),
    recenter=st.sampled_from([0.0, 0.3, 1.0]),
    batch_rows=st.sampled_from([0, 1, 2, 5]),
)


@given(data=st.data(), chosen=method_settings)
@fast
def test_step_equals_plain_reference(data: st.DataObject, chosen: Settings) -> None:
    world = data.draw(worlds())
    run = world.run(chosen)
    prediction = run.step(world.evaluation())
    cond, uncond, weights = reference(world, chosen)
    close(prediction.cond, cond)
    if world.guided:
        close(prediction.uncond, uncond)
    else:
        assert prediction.uncond is None
    maps = run.report.steps[0].maps
    assert maps is not None and maps.dtype == torch.float16
    np.testing.assert_allclose(maps.float().numpy(), weights, atol=1e-3)


@given(data=st.data(), chosen=method_settings)
@fast
def test_one_network_without_recentring_is_the_network_merged(data: st.DataObject, chosen: Settings) -> None:
    world = data.draw(worlds(most=1))
    composed = world.run(replace(chosen, recenter=0.0)).step(world.evaluation())
    same(composed, world.run(method="merge").step(world.evaluation()))


def test_duplicated_network_equals_once() -> None:
    twice = World((NetworkUse("a", 0.8), NetworkUse("a", 0.8)))
    for branch in ("cond", "uncond"):
        twice.model.deltas[branch][1] = twice.model.deltas[branch][0]
    once = World((NetworkUse("a", 0.8),))
    once.model.base = twice.model.base
    once.model.deltas = {branch: deltas[:1] for branch, deltas in twice.model.deltas.items()}
    chosen = Settings(looks=0, recenter=0.0, gain=0.0)
    same(twice.run(chosen).step(twice.evaluation()), once.run(chosen).step(once.evaluation()))


@given(order=st.permutations(range(4)), chosen=method_settings)
@fast
def test_order_of_networks_does_not_matter(order: list[int], chosen: Settings) -> None:
    world = World(uses(3, kept=1), images=2)
    shuffled = World(tuple(world.uses[i] for i in order), images=2)
    shuffled.model.base = world.model.base
    shuffled.model.deltas = {branch: deltas[order] for branch, deltas in world.model.deltas.items()}
    same(world.run(chosen).step(world.evaluation()), shuffled.run(chosen).step(shuffled.evaluation()))


@given(data=st.data(), chosen=method_settings, rescan=st.integers(1, 3))
@fast
def test_batch_equals_single_images_over_several_steps(
    data: st.DataObject, chosen: Settings, rescan: int
) -> None:
    world = data.draw(worlds())
    chosen = replace(chosen, rescan=rescan)
    owners = world.row_map.image_of
    rows_of = [[row for row, owner in enumerate(owners) if owner == b] for b in range(world.images)]
    singles = [world.picked(rows, image) for image, rows in enumerate(rows_of)]
    run, single_runs = world.run(chosen), [single.run(chosen) for single in singles]
    for index in range(3):
        # The choice of the first evaluation must be kept although the predictions change.
        for branch in ("cond", "uncond"):
            change = np.random.default_rng(index).normal(size=world.model.deltas[branch].shape)
            world.model.deltas[branch] += change
            for image, single in enumerate(singles):
                picked = rows_of[image] if branch == "cond" else [image]
                single.model.deltas[branch] = world.model.deltas[branch][:, picked]
        batch = run.step(world.evaluation(index))
        for image, single in enumerate(singles):
            alone = single_runs[image].step(single.evaluation(index))
            torch.testing.assert_close(batch.cond[rows_of[image]], alone.cond, **CLOSE)
            if world.guided:
                torch.testing.assert_close(batch.uncond[[image]], alone.uncond, **CLOSE)


@given(data=st.data(), chosen=method_settings)
@fast
def test_chosen_networks_alone_between_scans(data: st.DataObject, chosen: Settings) -> None:
    world = data.draw(worlds(least=3))
    chosen = replace(chosen, top_k=2, top_k_scope="image", rescan=3, score="step")
    run = world.run(chosen)
    steps = []
    for index in range(7):
        rng = np.random.default_rng(index)
        for branch in ("cond", "uncond"):
            world.model.deltas[branch] += rng.normal(size=world.model.deltas[branch].shape)
        prediction = run.step(world.evaluation(index))
        step = run.report.steps[-1]
        allowed = [[run.report.composed.index(name) for name in names] for names in step.chosen]
        assert all(len(networks) == 2 for networks in allowed)
        cond, uncond, _ = reference(world, replace(chosen, top_k=0), allowed)
        close(prediction.cond, cond)
        if world.guided:
            close(prediction.uncond, uncond)
        if index % 3 == 0 and world.rows is None:
            close(prediction.cond, reference(world, chosen)[0])
        steps.append(step)
    assert [step.scan for step in steps] == [True, False, False, True, False, False, True]
    assert steps[0].chosen == steps[1].chosen == steps[2].chosen
    assert steps[1].rows < steps[0].rows
    for step in steps[1:3]:
        for image, names in enumerate(step.chosen):
            known = [step.similarity[i][image] is not None for i in range(len(run.report.composed))]
            assert known == [name in names for name in run.report.composed]


def test_choice_is_per_image() -> None:
    world = World(uses(3), images=2, rows=RowMap((0, 1, 1), (1.0, 1.0, 0.5)))
    for row, network in ((0, 2), (1, 0), (2, 0)):
        world.model.deltas["cond"][network, row] = -4 * world.model.base["cond"][row]
    run = world.run(Settings(looks=0, top_k=1, rescan=10, recenter=0.5))
    run.step(world.evaluation(0))
    run.step(world.evaluation(1))
    assert [step.chosen for step in run.report.steps] == [(("network 2",), ("network 0",))] * 2
    networks = [(row.source, row.branch, row.index) for row in world.model.calls[1] if row.source != "base"]
    assert networks == [(0, "cond", 1), (0, "cond", 2), (0, "uncond", 1), (2, "cond", 0), (2, "uncond", 0)]


def test_another_number_of_images_asks_for_a_new_scan() -> None:
    two, one = World(uses(3), images=2), World(uses(3), images=1)
    run = two.run(Settings(looks=0, top_k=1, rescan=5))
    run.step(two.evaluation(0))
    run.step(one.evaluation(1))
    run.step(one.evaluation(2))
    assert [step.scan for step in run.report.steps] == [True, True, False]


def test_network_of_strength_zero_still_counts() -> None:
    world = World((NetworkUse("none", 0.0), NetworkUse("some", 1.0)))
    run = world.run()
    prediction = run.step(world.evaluation())
    close(prediction.cond, reference(world, Settings(looks=0, gain=0.0))[0])
    step = run.report.steps[0]
    assert step.rows == 6
    assert step.similarity is not None and step.weight is not None
    assert step.similarity[0][0] == pytest.approx(1.0, abs=1e-6)
    assert step.weight[0][0] < step.weight[1][0]


def test_similarity_is_taken_in_the_space_asked_for() -> None:
    world = World(uses(3))
    latent = torch.from_numpy(np.random.default_rng(5).normal(size=(1, *world.shape)))
    moved = World(uses(3))
    moved.model.base["cond"] = latent.numpy() - world.model.base["cond"]
    moved.model.deltas["cond"] = -world.model.deltas["cond"]
    evaluation = world.evaluation(mapping=lambda denoised: latent - denoised)
    chosen = Settings(looks=0, compare="denoised")
    prediction = world.run(chosen).step(evaluation)
    assert set(evaluation.asked) == {"denoised"}
    close(latent - prediction.cond, reference(moved, chosen)[0])
    close(prediction.uncond, world.run(chosen).step(evaluation).uncond.numpy())


def test_shares_of_rows_keep_float64() -> None:
    """Three AND weights whose shares do not sum to 1 in float32."""
    world = World(
        uses=uses(1, kept=0), images=1, rows=RowMap((0, 0, 0), (1.0, 2.0, 0.5)), guided=True, seed=0
    )
    chosen = Settings(looks=0, recenter=0.0, patch_size=1)
    _, uncond, _ = reference(world, chosen)
    close(world.run(chosen).step(world.evaluation()).uncond, uncond)
