"""The report: numbers, JSON, maps, warnings, and that it does not make the host wait."""

from __future__ import annotations

import gc
import json
import math
from itertools import count

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from jsonschema import Draft202012Validator

from loratorio_ext.method import RowMap
from loratorio_ext.run import REPORT_SCHEMA, REPORT_VERSION, NetworkUse, Run
from loratorio_ext.run.composer import MAP_BYTES, small_maps
from loratorio_ext.settings import Settings
from tests.bench.waits import Functions
from tests.run.world import World, reference, uses

METHODS = ["loratorio", "base", "merge", "switch", "composite"]
SCHEMA = Draft202012Validator(REPORT_SCHEMA)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("steps", [0, 3])
def test_json_fits_its_schema(method: str, steps: int) -> None:
    world = World(uses(3, kept=1), images=2, total=3)
    world.model.deltas["cond"][1] = math.nan
    run = world.run(Settings(looks=0, recenter=0.5, top_k=2, rescan=2), method=method, host="a test")
    for index in range(steps):
        run.step(world.evaluation(index, sigma=math.inf if index == 0 else 0.5))
    report = json.loads(run.report.to_json())
    SCHEMA.validate(report)
    assert report["version"] == REPORT_VERSION
    assert report["host"] == "a test" and report["method"] == method
    assert report["settings"] == Settings(looks=0, recenter=0.5, top_k=2, rescan=2).to_dict()
    assert report["networks"][3] == {
        "name": "network 3",
        "strength": 1.25,
        "compose": False,
        "at": "",
        "steps": "",
        "fade": "",
        "cond": True,
        "uncond": None,
    }
    assert report["composed"] == ["network 0", "network 1", "network 2"]
    assert report["finished"] is (steps == 3)


def test_the_schema_finds_what_does_not_fit() -> None:
    SCHEMA.check_schema(json.loads(json.dumps(dict(REPORT_SCHEMA))))
    report = json.loads(World(uses(1)).run().report.to_json())
    wrong = [
        {"finished": 1},
        {"version": 2},
        {"extra": 1},
        {"method": "x"},
        {"totals": {}},
        {"warnings": [1]},
    ]
    assert not any(SCHEMA.is_valid({**report, **change}) for change in wrong)
    del report["host"]
    assert [error.message for error in SCHEMA.iter_errors(report)] == ["'host' is a required property"]


def test_totals_and_seconds() -> None:
    world = World(uses(3), total=2)
    ticks = count(step=0.25)
    run = world.run(clock=lambda: next(ticks))
    for index in range(2):
        run.step(world.evaluation(index, sigma=14.6 - index))
    totals = run.report.totals
    assert (totals.steps, totals.rows, totals.calls, totals.plain_rows, totals.ratio) == (2, 16, 2, 4, 4.0)
    assert totals.seconds == pytest.approx(0.5)
    assert [step.sigma for step in run.report.steps] == [14.6, 13.6]


def test_means_per_network_and_image() -> None:
    rows = RowMap((0, 0, 1), (3.0, -1.0, 0.0))
    world = World(uses(2), images=2, rows=rows, shape=(2, 4, 4))
    report = world.report(1)
    step = report.steps[0]
    _, _, weights = reference(world, Settings(looks=0))
    means = weights.mean((2, 3))
    expected = np.stack([0.75 * means[:, 0] + 0.25 * means[:, 1], means[:, 2]], axis=1)
    np.testing.assert_allclose(step.weight, expected, atol=1e-6)
    assert step.similarity is not None
    assert all(-1 <= value <= 1 for images in step.similarity for value in images if value is not None)


@given(
    networks=st.integers(1, 4), rows=st.integers(1, 3), height=st.integers(1, 150), width=st.integers(1, 150)
)
@settings(deadline=None, max_examples=25)
def test_maps_are_small_and_keep_the_mean(networks: int, rows: int, height: int, width: int) -> None:
    weights = torch.rand(networks, rows, height, width, generator=torch.Generator().manual_seed(height))
    maps = small_maps(weights, total=10)
    assert maps.dtype == torch.float16 and maps.shape[:2] == (networks, rows)
    assert max(maps.shape[2:]) == min(64, max(height, width))
    if max(height, width) <= 64:
        torch.testing.assert_close(maps.float(), weights, atol=1e-3, rtol=0)
    if height % maps.shape[2] == 0 and width % maps.shape[3] == 0:
        torch.testing.assert_close(maps.float().mean((2, 3)), weights.mean((2, 3)), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("networks", "rows", "total"), [(64, 8, 150), (8, 4, 50), (64, 64, 1000)])
def test_maps_of_a_generation_stay_within_their_memory(networks: int, rows: int, total: int) -> None:
    maps = small_maps(torch.rand(1, 1, 64, 64).expand(networks, rows, 64, 64), total)
    assert maps.numel() * 2 * total <= MAP_BYTES


def test_full_weights_are_let_go_before_the_report_is_read() -> None:
    world = World(uses(3), shape=(1, 97, 3))
    run = world.run(Settings(looks=0, recenter=0.5, patch_size=1))
    run.step(world.evaluation())
    gc.collect()
    held = [thing for thing in gc.get_objects() if type(thing) is torch.Tensor and 97 in thing.shape]
    assert held == []
    assert run.report.steps[0].maps.shape == (3, 1, 64, 1)


def test_network_that_is_not_finite_is_named_and_has_no_weight() -> None:
    world = World(uses(3), total=6)
    run = world.run()
    healthy = world.model.deltas["cond"][1].copy()
    for index in range(6):
        world.model.deltas["cond"][1] = healthy if index in (0, 4) else math.nan
        assert run.step(world.evaluation(index)).cond.isfinite().all()
    steps = run.report.steps
    bad = ("network 1",)
    assert [step.non_finite for step in steps] == [(), bad, bad, bad, (), bad]
    assert steps[1].weight is not None and steps[1].weight[1] == (0.0,)
    assert steps[1].similarity is not None and steps[1].similarity[1] == (None,)
    assert steps[1].chosen == (("network 0", "network 2"),)
    assert not any(step.fallback for step in steps)
    assert run.report.warnings == (
        "network 'network 1' gave NaN or infinite values at evaluation 1-3, 5: no weight there",
    )


@pytest.mark.parametrize("looks", [0, 3])
def test_a_network_has_no_weight_where_it_does_not_act(looks: int) -> None:
    later = NetworkUse("later", 1.0, steps="0.5-1")
    steps = World((*uses(2), later), total=6).report(6, Settings(looks=looks)).steps
    weights = np.array([step.weight for step in steps], dtype=np.float64)[..., 0]  # None would be nan
    assert (weights[:3, 2] == 0).all() and (weights[3:, 2] > 0).all()
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-6)
    assert all(step.similarity is None or step.similarity[2] == (None,) for step in steps[:3])


def test_image_in_which_a_network_is_not_finite_is_named() -> None:
    rows = RowMap((0, 1, 1), (1.0, 1.0, 0.5))
    world = World(uses(2), images=2, rows=rows, total=2)
    world.model.deltas["cond"][1, 2] = math.nan
    report = world.report(1)
    step = report.steps[0]
    assert step.non_finite == ("network 1",) and step.non_finite_in == ((), ("network 1",))
    assert step.similarity is not None
    assert step.similarity[1][0] is not None and step.similarity[1][1] is None
    assert step.finite
    assert report.warnings == (
        "network 'network 1' gave NaN or infinite values at evaluation 0 in image 2 of 2: no weight there",
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("branch", ["cond", "uncond"])
def test_prediction_that_is_not_finite_is_said_for_every_method(method: str, branch: str) -> None:
    world = World(uses(2), images=2, total=4)
    run = world.run(method=method)
    run.step(world.evaluation(0))
    world.model.base[branch][1] = math.inf
    for index in (1, 2):
        run.step(world.evaluation(index))
    assert [step.finite for step in run.report.steps] == [True, False, False]
    said = [text for text in run.report.warnings if "the prediction held NaN" in text]
    assert len(said) == 1 and "at evaluation 1-2" in said[0]


@pytest.mark.parametrize("top_k", [0, 1])
def test_no_finite_network_falls_back_to_the_base_and_says_so(top_k: int) -> None:
    world = World(uses(2), total=4)
    world.model.deltas["cond"][:] = math.inf
    run = world.run(Settings(looks=0, recenter=0.5, top_k=top_k, rescan=2 if top_k else 1))
    for index in range(2):
        prediction = run.step(world.evaluation(index))
        np.testing.assert_array_equal(prediction.cond.numpy(), world.arrays([0.0, 0.0])[0])
        np.testing.assert_array_equal(prediction.uncond.numpy(), world.arrays([0.0, 0.0])[1])
    assert all(step.fallback for step in run.report.steps)
    assert run.report.warnings[-1] == (
        "no network was usable at evaluation 0-1: the base prediction was used there"
    )


def test_networks_left_out_between_scans_are_not_called_faulty() -> None:
    world = World(uses(3))
    run = world.run(Settings(looks=0, recenter=0.5, top_k=1, rescan=5))
    run.step(world.evaluation(0))
    chosen = run.report.composed.index(run.report.steps[0].chosen[0][0])
    world.model.base["cond"][:] = math.nan
    run.step(world.evaluation(1))
    assert run.report.steps[1].non_finite == (f"network {chosen}",)


def test_setting_without_effect_is_said() -> None:
    world = World(uses(3))
    assert world.run(Settings(looks=0, recenter=0.5, top_k=2, rescan=4)).report.warnings == ()
    for useless in (Settings(looks=0, rescan=4), Settings(looks=0, top_k=2, rescan=4, top_k_scope="patch")):
        assert "rescan = 4 has no effect" in world.run(useless).report.warnings[0]


def test_host_may_warn_and_a_sentence_is_kept_once() -> None:
    report = World(uses(1)).run().report
    report.warn("the prompt was cut")
    report.warn("the prompt was cut")
    assert report.warnings == ("the prompt was cut",)


@pytest.mark.parametrize("stopped", [False, True])
def test_a_sampler_that_ends_early_is_done_unless_it_was_stopped(stopped: bool) -> None:
    world = World(uses(1), total=8)
    run = world.run()
    run.step(world.evaluation(0))
    assert not run.report.finished
    run.end(stopped=stopped)
    assert run.report.finished is not stopped


def test_report_can_be_read_while_the_run_goes_on() -> None:
    world = World(uses(2), total=2)
    run = world.run()
    run.step(world.evaluation(0))
    first = run.report.steps
    run.step(world.evaluation(1))
    assert run.report.steps[0] is first[0]
    assert [step.index for step in run.report.steps] == [0, 1]


@pytest.mark.parametrize("method", ["loratorio", "switch", "composite"])
@pytest.mark.parametrize("window", [{"start": 0.99}, {"start": 0.5, "end": 0.5}])
def test_run_that_only_merged_says_so(method: str, window: dict[str, float]) -> None:
    world = World(uses(2), total=3)
    run = world.run(Settings(looks=0, recenter=0.5, **window), method=method)
    for index in range(3):
        assert run.report.warnings == ()
        run.step(world.evaluation(index))
    (warning,) = run.report.warnings
    assert f"merged at all 3 evaluations and {method} at none" in warning
    assert f"start = {window['start']}" in warning and "more steps" in warning


@pytest.mark.parametrize(
    ("method", "start", "kept"),
    [("merge", 0.99, 0), ("base", 0.99, 0), ("loratorio", 0.6, 0), ("switch", 0.6, 0), ("composite", 0.6, 1)],
)
def test_run_that_did_what_it_should_is_silent(method: str, start: float, kept: int) -> None:
    world = World(uses(2, kept=kept), total=3)
    report = world.report(3, Settings(looks=0, recenter=0.5, start=start), method=method)
    assert report.warnings == ()


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize(
    "chosen",
    [
        Settings(looks=0),
        Settings(looks=0, recenter=0.5, top_k=1),
        Settings(looks=0, recenter=0.5, top_k=1, top_k_scope="patch"),
        Settings(looks=0, recenter=1.0),
    ],
)
def test_step_never_looks_at_the_predictions(chosen: Settings, guided: bool) -> None:
    # Tensors without data: whoever asks for a number fails.
    world = World(uses(3), images=2, rows=RowMap((0, 1, 1), (1.0, 0.5, 2.0)), guided=guided)
    world.model.device = "meta"
    run = world.run(chosen)
    for index in range(2):
        assert run.step(world.evaluation(index)).cond.shape == (3, *world.shape)


def test_only_a_scan_waits_for_the_device() -> None:
    world = World(uses(3), images=2)
    run = world.run(Settings(looks=0, recenter=0.5, top_k=1, rescan=2))
    seen = []
    for index in range(4):
        with Functions() as functions:
            run.step(world.evaluation(index))
        seen.append(functions.seen)
    assert seen == [["tolist"], [], ["tolist"], []]


def test_half_precision_and_gradients_leave_no_trace() -> None:
    world = World((NetworkUse("a", 1.0), NetworkUse("b", 1.0)))
    evaluation = world.evaluation()
    evaluation.predict = lambda *rows: (world.model.predict(*rows).half().requires_grad_(), 1)
    run = Run(Settings(looks=0), world.uses)
    prediction = run.step(evaluation)
    assert prediction.cond.dtype == prediction.uncond.dtype == torch.float16
    maps = run.report.steps[0].maps
    assert maps is not None and not maps.requires_grad
