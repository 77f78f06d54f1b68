"""Windows, the usual ways, the rows of a step and what they cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from loratorio_ext.method import RowMap
from loratorio_ext.run import NetworkUse, Row, cost
from loratorio_ext.run.schedule import Schedule
from loratorio_ext.settings import Settings
from tests.run.world import World, uses

METHODS = ["loratorio", "base", "merge", "merge-recentred", "switch", "composite"]


def modes(world: Any, chosen: Settings, total: int, method: str = "loratorio", **options: Any) -> list[str]:
    world.total = total
    report = world.report(total, chosen, method=method, **options)
    return [step.mode for step in report.steps]


@pytest.mark.parametrize(
    ("start", "end", "total", "inside"),
    [
        (0.0, 1.0, 4, [0, 1, 2, 3]),
        (0.25, 0.75, 4, [1, 2]),
        (0.3, 1.0, 10, [3, 4, 5, 6, 7, 8, 9]),
        (0.15000000000000002, 0.30000000000000004, 20, [3, 4, 5]),
        (0.26, 0.74, 4, [2]),
        (0.5, 0.5, 4, []),
        (1.0, 1.0, 4, []),
        (0.0, 0.0, 4, []),
        (0.0, 0.1, 1, [0]),
    ],
)
def test_window_counts_evaluations(start: float, end: float, total: int, inside: list[int]) -> None:
    expected = ["composed" if index in inside else "merged" for index in range(total)]
    world = World(uses(2))
    chosen = Settings(looks=0, start=start, end=end)
    assert modes(world, chosen, total) == expected
    switching = modes(world, chosen, total, "switch")
    assert [mode == "merged" for mode in switching] == [mode == "merged" for mode in expected]


def test_more_evaluations_than_promised_go_on_composing() -> None:
    world = World(uses(2), total=2)
    report = world.report(4)
    assert {step.mode for step in report.steps} == {"composed"}


def test_outside_the_window_networks_act_merged() -> None:
    world = World(uses(2, kept=1), images=2)
    prediction = world.run(Settings(looks=0, start=0.5)).step(world.evaluation(0))
    cond, uncond = world.arrays(world.merged())
    np.testing.assert_array_equal(prediction.cond.numpy(), cond)
    np.testing.assert_array_equal(prediction.uncond.numpy(), uncond)
    assert {row.source for row in world.model.calls[0]} == {"merged"}
    assert len(world.model.calls[0]) == 4


@pytest.mark.parametrize("guided", [True, False])
def test_usual_ways(guided: bool) -> None:
    world = World(uses(3, kept=1), images=2, guided=guided)
    alone = [world.arrays(world.alone(i)) for i in range(3)]
    base, merge = world.arrays(world.kept()), world.arrays(world.merged())
    expected = {
        "base": base,
        "merge": merge,
        "merge-recentred": (merge[0], 0.3 * base[1] + 0.7 * merge[1]),
        "composite": tuple(np.mean([branch[i] for branch in alone], axis=0) for i in range(2)),
    }
    for index in range(5):
        expected["switch"] = alone[(index // 2) % 3]
        for method, (cond, uncond) in expected.items():
            run = world.run(Settings(looks=0, recenter=0.3), method=method, switch_every=2)
            prediction = run.step(world.evaluation(index))
            if method == "merge-recentred":
                assert len(world.model.calls[-1]) == (6 if guided else 2)
            np.testing.assert_allclose(prediction.cond.numpy(), cond, atol=1e-12)
            if guided:
                np.testing.assert_allclose(prediction.uncond.numpy(), uncond, atol=1e-12)
            else:
                assert prediction.uncond is None


def test_usual_ways_say_who_acted() -> None:
    world = World(uses(2), images=2)
    seen = {}
    for method in METHODS:
        run = world.run(method=method, switch_every=1)
        run.step(world.evaluation(1))
        seen[method] = run.report.steps[0]
    both, second = ("network 0", "network 1"), ("network 1",)
    assert {method: step.chosen for method, step in seen.items()} == {
        "loratorio": (both, both),
        "base": ((), ()),
        "merge": (both, both),
        "merge-recentred": (both, both),
        "switch": (second, second),
        "composite": (both, both),
    }
    assert seen["switch"].weight == ((0.0, 0.0), (1.0, 1.0))
    assert seen["composite"].weight == ((0.5, 0.5), (0.5, 0.5))
    assert seen["merge"].weight is None and seen["merge"].similarity is None and seen["merge"].maps is None


def test_no_network_to_compose_is_the_base_with_the_kept_ones() -> None:
    world = World(uses(0, kept=2))
    run = world.run()
    prediction = run.step(world.evaluation())
    np.testing.assert_array_equal(prediction.cond.numpy(), world.arrays(world.merged())[0])
    assert run.report.steps[0].mode == "base"
    assert run.report.warnings == (
        "there is no network to compose: all 2 networks are kept merged in every row",
    )


def test_picture_without_networks_needs_no_warning() -> None:
    assert World(()).run().report.warnings == ()


def test_rows_in_their_order() -> None:
    world = World(uses(2), images=2, rows=RowMap((0, 1, 0), (1.0, 1.0, 1.0)))
    world.run().step(world.evaluation())
    expected = [
        Row(source, branch, index)
        for source in ("base", 0, 1)
        for branch, count in (("cond", 3), ("uncond", 2))
        for index in range(count)
    ]
    assert list(world.model.calls[0]) == expected


@pytest.mark.parametrize(("guided", "recenter", "rows"), [(True, 0.5, 8), (True, 1.0, 5), (False, 0.5, 4)])
def test_unconditional_rows_only_where_needed(guided: bool, recenter: float, rows: int) -> None:
    world = World(uses(3), guided=guided)
    world.run(Settings(looks=0, recenter=recenter)).step(world.evaluation())
    called = world.model.calls[0]
    assert len(called) == rows
    assert sum(row.branch == "uncond" for row in called) == (0 if not guided else 1 if recenter == 1 else 4)


@given(data=st.data())
@settings(deadline=None, max_examples=60)
def test_cost_is_what_a_run_does(data: st.DataObject) -> None:
    images = data.draw(st.integers(1, 3))
    extra = data.draw(st.lists(st.integers(0, images - 1), max_size=3))
    owners = (*range(images), *extra)
    count, total = data.draw(st.integers(0, 5)), data.draw(st.integers(1, 8))
    bounds = sorted(data.draw(st.tuples(*[st.integers(0, 10)] * 2)))
    chosen = Settings(
        looks=0,
        top_k=data.draw(st.integers(0, 5)),
        top_k_scope=data.draw(st.sampled_from(["image", "patch"])),
        recenter=data.draw(st.sampled_from([0.0, 0.5, 1.0])),
        rescan=data.draw(st.integers(1, 4)),
        reuse=data.draw(st.integers(1, 4)),
        start=bounds[0] / 10,
        end=bounds[1] / 10,
        batch_rows=data.draw(st.integers(0, 4)),
    )
    method = data.draw(st.sampled_from(METHODS))
    world = World(
        uses(count, kept=1),
        images=images,
        rows=RowMap(owners, (1.0,) * len(owners)),
        guided=data.draw(st.booleans()),
        total=total,
        seed=data.draw(st.integers(0, 1000)),
        shape=(1, 2, 2),
    )
    given = data.draw(st.integers(0, 2))  # model calls of the host for the base
    run = world.run(chosen, method=method, switch_every=2)
    for index in range(total):
        run.step(world.evaluation(index, base_calls=given))
    foretold = cost(
        chosen,
        count,
        world.guided,
        total=total,
        images=images,
        cond_rows=len(owners),
        base_is_given=given > 0,
        method=method,
        switch_every=2,
    )
    assert tuple(step.rows for step in run.report.steps) == foretold
    plain = len(owners) + (images if world.guided else 0)
    called = sum(len(call) for call in world.model.calls)
    assert called + total * plain * (given > 0) == sum(foretold)
    assert run.report.totals.calls == len(world.model.calls) + total * given
    assert run.report.totals.plain_rows == total * plain


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("reuse", [1, 2])
def test_what_the_host_has_is_used_as_if_it_were_predicted(method: str, reuse: int) -> None:
    world = World(uses(2, kept=1), images=2)
    chosen = Settings(looks=0, recenter=0.5, start=0.2, reuse=reuse, batch_rows=1)
    asked, given = world.run(chosen, method=method), world.run(chosen, method=method)
    for index in range(world.total):
        expected = asked.step(world.evaluation(index))
        world.model.calls.clear()
        found = given.step(world.evaluation(index, base_calls=1))
        assert torch.equal(found.cond, expected.cond) and torch.equal(found.uncond, expected.uncond)
        assert not [row for call in world.model.calls for row in call if row.source == "base"]


@given(
    windows=st.lists(st.sampled_from(["", "0-0.5", "0.5-1", "0.3-0.6"]), min_size=1, max_size=3),
    totals=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    looks=st.integers(0, 3),
    bounds=st.tuples(*[st.sampled_from([0.0, 0.4, 0.7, 1.0])] * 2).map(sorted),
    at=st.sampled_from(["", "0-0.6,0-1"]),
)
@settings(deadline=None, max_examples=60)
def test_cost_of_a_hires_pass_is_what_it_does(
    windows: list[str], totals: tuple[int, int], looks: int, bounds: list[float], at: str
) -> None:
    chosen = Settings(looks=looks, start=bounds[0], end=bounds[1])
    if at and (bounds[0] > 0 or bounds[1] < 1):
        at = ""  # a part of the picture needs every step
    used = tuple(NetworkUse(f"n{i}", 1.0, steps=one, at=at) for i, one in enumerate(windows))
    passes = [World(used, total=total) for total in totals]
    runs = [world.run(chosen) for world in passes]
    for world, run in zip(passes, runs, strict=True):
        if run is not runs[0]:
            run.go_on_from(runs[0], (4, 5))
        for index in range(world.total):
            run.step(world.evaluation(index))
    foretold = cost(
        chosen,
        len(used),
        total=totals[1],
        windows=tuple(use.window for use in used),
        has_areas=bool(at),
        first_pass=totals[0],
    )
    assert tuple(step.rows for step in runs[1].report.steps) == foretold


def test_cost_with_the_base_given() -> None:
    chosen = Settings(looks=0, recenter=0.5, start=0.5)
    assert cost(chosen, 2, total=4) == (2, 2, 6, 6)
    assert cost(chosen, 2, total=4, base_is_given=True) == (4, 4, 6, 6)
    assert cost(chosen, 2, False, total=4, cond_rows=3, base_is_given=True) == (6, 6, 9, 9)


def test_cost_makes_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt from strangers can ask for very many."""
    monkeypatch.setattr(Schedule, "rows", lambda *_: pytest.fail("rows were made"))
    found = cost(Settings(looks=0, recenter=1.0), 10**6, total=2, images=10**6, cond_rows=10**7)
    assert found == (11 * 10**6 + 10**6 * 10**7,) * 2


def test_cost_of_the_paper() -> None:
    assert cost(Settings(looks=0, recenter=0.5), 3, total=2) == (8, 8)
    assert cost(Settings(looks=0, recenter=1.0), 3, total=1) == (5,)
    assert cost(Settings(looks=0), 3, guided=False, total=1) == (4,)
    assert cost(Settings(looks=0, recenter=0.5, top_k=2, rescan=3), 10, total=4) == (22, 6, 6, 22)


def test_cost_of_reuse() -> None:
    assert cost(Settings(looks=0, recenter=1.0, reuse=2), 4, total=4) == (6, 2, 6, 2)
    assert cost(Settings(looks=0, recenter=0.5, reuse=3), 4, total=4) == (10, 2, 2, 10)
    assert cost(Settings(looks=0, recenter=0.5, reuse=2, start=0.25), 4, total=4) == (2, 10, 2, 10)
    # A scan evaluates all networks, whether it is their turn or not.
    chosen = Settings(looks=0, recenter=1.0, top_k=2, rescan=3, reuse=2)
    assert cost(chosen, 8, total=7) == (10, 2, 4, 10, 4, 2, 10)


@pytest.mark.parametrize("wrong", [{"total": 0}, {"total": 1, "images": 0}, {"total": 1, "cond_rows": 0}])
def test_cost_refuses_impossible_numbers(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="none below 1"):
        cost(Settings(looks=0), 2, **wrong)


def test_scans_are_counted_from_the_start_of_the_window() -> None:
    chosen = Settings(looks=0, recenter=0.5, top_k=1, rescan=3, start=0.2)
    world = World(uses(4), total=10)
    report = world.report(10, chosen)
    assert [step.index for step in report.steps if step.scan] == [2, 5, 8]
    assert cost(chosen, 4, total=10) == (2, 2, 10, 4, 4, 10, 4, 4, 10, 4)


def test_nothing_to_choose_between_scans_when_all_are_kept() -> None:
    assert not Schedule(Settings(looks=0, top_k=3, rescan=3), "loratorio", 3).choosing
    assert Schedule(Settings(looks=0, top_k=2, rescan=3), "loratorio", 3).choosing


def test_empty_window_at_the_end_stays_empty() -> None:
    schedule = Schedule(Settings(looks=0, start=1.0, end=1.0), "loratorio", 2)
    assert {schedule.plan(index, 4).mode for index in range(8)} == {"merged"}
