"""Looks, and between them steps in which all networks share a row, each at its own places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from loratorio_ext.method import RowMap
from loratorio_ext.networks.router import UnplacedError
from loratorio_ext.run import GivenBase, NetworkUse, Row, cost
from loratorio_ext.run.schedule import places_of_looks
from loratorio_ext.settings import Settings
from tests.run.world import World, uses

ROW_MAPS = {"one": RowMap.one_each(1), "batch": RowMap.one_each(2), "AND": RowMap((0, 1, 0), (1.0, 1.0, 0.5))}


@pytest.mark.parametrize("rows", ROW_MAPS)
@pytest.mark.parametrize("recenter", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("top_k", [0, 2])
@pytest.mark.parametrize("at", ["", "0-0.6,0-1"])
def test_where_the_model_is_linear_a_placed_step_is_the_full_one(
    rows: str, recenter: float, top_k: int, at: str
) -> None:
    # Predictions do not depend on the step here, so the full method gives the same at every one. Without
    # gain, since a full step makes networks stronger than their tags say, and a placed one does not.
    uses = (
        NetworkUse("a", 0.8, at=at),
        NetworkUse("kept", 0.5, compose=False),
        NetworkUse("b", -1.0),
        NetworkUse("c", 1),
    )
    world = World(uses, images=ROW_MAPS[rows].images, rows=ROW_MAPS[rows])
    settings = Settings(looks=1, recenter=recenter, top_k=top_k, score="step", gain=0.0)
    run = world.run(settings)
    look, placed = (run.step(world.evaluation(index)) for index in range(2))
    assert [step.mode for step in run.report.steps] == ["composed", "placed"]
    torch.testing.assert_close(placed.cond, look.cond, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(placed.uncond, look.uncond, rtol=1e-5, atol=1e-5)
    assert run.report.steps[1].chosen == run.report.steps[0].chosen
    torch.testing.assert_close(run.report.steps[1].maps, run.report.steps[0].maps)


@pytest.mark.parametrize("gain", [0.35, 1.0])
@pytest.mark.parametrize("recenter", [0.0, 0.5, 1.0])
def test_gain_makes_no_network_stronger_than_its_tag_says_where_it_is_placed(
    gain: float, recenter: float
) -> None:
    strengths = (0.8, -1.0, 1.0)
    world = World(tuple(map(NetworkUse, "abc", strengths)), images=2)
    run = world.run(Settings(looks=1, gain=gain, recenter=recenter))
    _, placed = (run.step(world.evaluation(index)) for index in range(2))
    assert run.routes.weights is not None
    weights = run.routes.weights.numpy().repeat(2, axis=-2).repeat(2, axis=-1)[..., :4, :5]
    maps = np.minimum(1, 3**gain * weights)
    assert (maps == 1).any() and (maps < 1).any()
    for branch, found, share in (("cond", placed.cond, 1), ("uncond", placed.uncond, 1 - recenter)):
        acting = maps[:, :, None] * np.reshape(strengths, (3, 1, 1, 1, 1))
        added = (acting * world.model.deltas[branch]).sum(axis=0)
        wanted = torch.tensor(world.model.base[branch] + share * added)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scope", ["image", "patch"])
@pytest.mark.parametrize(("top_k", "count"), [(1, 2), (1, 3), (2, 4), (3, 4)])
def test_networks_that_a_later_look_chooses_act_at_their_full_share(
    scope: str, top_k: int, count: int
) -> None:
    """Maps are smoothed over looks, but never with what networks had that no longer act."""
    world = World(tuple(NetworkUse(name, 1.0) for name in "abcd"[:count]), total=20)
    run = world.run(Settings(looks=4, top_k=top_k, top_k_scope=scope, score="step"))
    cond = world.model.deltas["cond"]
    for index in range(20):
        if index == 1:
            cond[:] = cond[::-1].copy()  # the others differ most from here on
        run.step(world.evaluation(index))
        weights, chosen = run.routes.weights, run.routes.acting
        assert weights is not None and chosen is not None
        torch.testing.assert_close(weights.sum(0), torch.ones_like(weights[0]))
        assert ((weights > 0).sum(0) <= top_k).all() and not (weights[~chosen[:, 0]] > 0).any()
    assert scope == "patch" or len({step.chosen for step in run.report.steps}) > 1


@pytest.mark.parametrize("guided", [True, False])
@pytest.mark.parametrize("recenter", [0.5, 1.0])
def test_a_placed_step_has_the_rows_of_a_plain_one(guided: bool, recenter: float) -> None:
    world = World(uses(5), images=2, guided=guided, total=20)
    settings = Settings(looks=3, recenter=recenter)
    report = world.report(20, settings)
    rows = tuple(step.rows for step in report.steps)
    assert rows == cost(settings, 5, guided, total=20, images=2)
    placed = [step.rows for step in report.steps if step.mode == "placed"]
    assert placed == [4 if guided else 2] * 17
    assert len(world.model.calls) == 20


def test_maps_are_smoothed_over_looks() -> None:
    world = World(uses(2), total=5)
    run = world.run(Settings(looks=2))
    for index in (0, 1):
        run.step(world.evaluation(index))
    first = run.routes.weights
    world.model.deltas["cond"] = world.model.deltas["cond"][::-1].copy()
    run.step(world.evaluation(2))
    assert [step.mode for step in run.report.steps] == ["composed", "placed", "composed"]
    second = world.run(Settings())
    second.step(world.evaluation(1))
    now = second.report.steps[0].maps.float().squeeze()
    torch.testing.assert_close(
        run.routes.weights.squeeze().float(), (first.squeeze().float() + now) / 2, atol=1e-3, rtol=0
    )


def test_what_cannot_be_placed_is_a_full_step_and_said_once() -> None:
    world = World(uses(2))
    run = world.run(Settings(looks=1))
    run.step(world.evaluation(0))

    def refuse(rows: Sequence[Row]) -> None:
        if any(row.source == "placed" for row in rows):
            raise UnplacedError("tokens are merged")

    world.model.before_call = refuse
    wanted = world.run(Settings(looks=0)).step(world.evaluation(1))
    for index in (1, 2):
        got = run.step(world.evaluation(index))
        assert torch.equal(got.cond, wanted.cond)
    assert [step.mode for step in run.report.steps] == ["composed"] * 3
    assert run.report.warnings == (
        "networks cannot be placed in this picture (tokens are merged); from evaluation 1 on, all networks "
        "are evaluated at every step",
    )


def test_other_rows_than_at_the_look_are_looked_at_again() -> None:
    run = World(uses(2)).run(Settings(looks=1))
    run.step(World(uses(2)).evaluation(0))
    run.step(World(uses(2), images=2).evaluation(1))
    assert [step.mode for step in run.report.steps] == ["composed", "composed"]


def test_a_host_may_place_networks_in_its_own_call() -> None:
    world = World(uses(3), images=2, rows=ROW_MAPS["AND"])
    settings = Settings(looks=1)
    run = world.run(settings)
    assert run.placed_rows(0, 10, world.row_map, True) is None
    run.step(world.evaluation(0))
    rows, strengths, places = run.placed_rows(1, 10, world.row_map, True)
    wanted = [("cond", i) for i in range(3)] + [("uncond", i) for i in range(2)]
    assert [(row.branch, row.index) for row in rows] == wanted
    predicted = world.model.predict(rows, strengths, places)
    given = GivenBase(predicted[:3], predicted[3:], 1, is_placed=True)
    calls = len(world.model.calls)
    got = run.step(world.evaluation(1, placed=given))
    assert len(world.model.calls) == calls
    again = world.run(settings)
    again.step(world.evaluation(0))
    wanted = again.step(world.evaluation(1))
    assert torch.equal(got.cond, wanted.cond)
    assert torch.equal(got.uncond, wanted.uncond)
    assert run.report.steps[1].rows == again.report.steps[1].rows == 5


def test_old_ways_to_save_time_play_no_part_with_looks() -> None:
    world, settings = World(uses(4), total=8), Settings(looks=2, top_k=2)
    modes = []
    for old in (settings, replace(settings, rescan=3, reuse=2)):
        run = world.run(old)
        for index in range(8):
            run.step(world.evaluation(index))
        modes.append([(step.mode, step.rows, step.reused) for step in run.report.steps])
    assert modes[0] == modes[1]


def test_one_network_alone_acts_everywhere_and_costs_nothing() -> None:
    uses = (NetworkUse("kept", 0.5, compose=False), NetworkUse("a", 0.8))
    world = World(uses, images=2, total=5)
    settings = Settings(recenter=0.5)
    run = world.run(settings)
    for index in range(5):
        got = run.step(world.evaluation(index))
        wanted, uncond = world.arrays([0.5, 0.8])
        np.testing.assert_allclose(got.cond.numpy(), wanted, atol=1e-6)
        between = (uncond + world.arrays([0.5, 0.0])[1]) / 2
        np.testing.assert_allclose(got.uncond.numpy(), between, atol=1e-6)
    assert [step.rows for step in run.report.steps] == [4] * 5
    assert cost(settings, 1, total=5, images=2) == (4,) * 5


@given(st.integers(1, 300), st.integers(1, 300))
def test_looks_begin_at_once_and_come_less_and_less_often(length: int, looks: int) -> None:
    places = places_of_looks(length, looks)
    assert len(places) == min(looks, (length + 1) // 2)
    assert all(0 <= place < length for place in places)
    assert list(places) == sorted(set(places))
    assert places[0] == 0
    distances = [b - a for a, b in zip(places, (*places[1:], length), strict=True)]
    assert all(b >= a - 1 for a, b in pairwise(distances))


@pytest.mark.parametrize(
    ("total", "end", "places"),
    [
        (4, 1.0, (0, 1)),
        (8, 1.0, (0, 1, 2, 4)),
        (20, 1.0, (0, 1, 4, 9)),
        (30, 1.0, (0, 2, 6, 14)),
        (40, 0.5, (0, 1, 4, 9)),
    ],
)
def test_where_four_looks_are(total: int, end: float, places: tuple[int, ...]) -> None:
    world = World(uses(3), total=total)
    report = world.report(total, Settings(looks=4, end=end))
    assert tuple(i for i, step in enumerate(report.steps) if step.mode == "composed") == places


def test_networks_that_were_not_chosen_have_no_strength_in_placed_rows() -> None:
    uses = (NetworkUse("a", 0.8), NetworkUse("kept", 0.5, compose=False), NetworkUse("b", -1.0))
    world = World(uses, images=2)
    run = world.run(Settings(looks=1, top_k=1))
    run.step(world.evaluation(0))
    chosen = [names[0] for names in run.report.steps[0].chosen]
    rows = [Row("placed", "cond", 0), Row("placed", "cond", 1), Row("base", "uncond", 1)]
    strengths, places = run.routes.of_rows(rows)
    wanted = {"a": (0.8, 0.5, 0.0), "b": (0.0, 0.5, -1.0)}
    assert strengths == [wanted[chosen[0]], wanted[chosen[1]], (0.0, 0.5, 0.0)]
    assert places is not None and places.rows == (0, 1)


def test_a_network_that_a_look_leaves_out_adds_no_nan_to_the_steps_after_it() -> None:
    world = World(uses(3))
    world.model.deltas["cond"][1] = np.nan
    run = world.run(Settings(looks=1))
    assert all(run.step(world.evaluation(index)).cond.isfinite().all() for index in range(2))
    assert [step.mode for step in run.report.steps] == ["composed", "placed"]


def test_the_text_of_a_placed_row_is_of_the_networks_that_act_in_it() -> None:
    world = World((NetworkUse("a", 1), NetworkUse("kept", 1, compose=False), NetworkUse("b", 1, steps="0-5")))
    run, rows = world.run(Settings(looks=1, recenter=0.75)), RowMap.one_each(1)

    def texts(branch: str, own: set[int]) -> dict[object, float]:
        return dict(run.routes.text_of(Row("placed", branch, 0), rows, own))

    for index in range(2):
        run.step(world.evaluation(index))
    assert texts("cond", {0, 1}) == {"merged": 1}
    assert texts("cond", set()) == {"base": 1}
    assert texts("uncond", {0, 1}) == {"merged": 0.25, "base": 0.75}
    run.routes.begin(7, 10)  # b acts no longer
    assert texts("cond", {0, 1}) == {0: 1}
    assert texts("cond", {0}) == {"merged": 1}
    assert texts("cond", {1}) == {"base": 1}
    assert texts("uncond", {0, 1}) == {0: 0.25, "base": 0.75}
    assert dict(run.routes.text_of(Row(1, "cond", 0), rows, {0, 1})) == {1: 1}


def test_of_many_networks_each_that_acts_adds_what_its_text_adds_alone() -> None:
    world = World(tuple(NetworkUse(name, 1, steps="0-5" if name == "c" else "") for name in "abc"))
    run = world.run(Settings(looks=1))
    run.step(world.evaluation(0))
    run.routes.begin(7, 10)
    found = dict(run.routes.text_of(Row("placed", "cond", 0), RowMap.one_each(1), {0, 1, 2}))
    assert found == {0: 1, 1: 1, "base": -1}
