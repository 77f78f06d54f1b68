"""Networks that act in a part of the picture, or at a part of the steps, in full and placed steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings as hypothesis_settings, strategies as st

from loratorio_ext.networks.arguments import OwnArguments
from loratorio_ext.run import NetworkUse, Prediction, Run, cost
from loratorio_ext.run.routes import Routes
from loratorio_ext.settings import Settings
from tests.run.world import PAPER, World, reference, same, uses

HALVES = ("left", "right")


def copies(strength: float = 0.8, parts: tuple[str, str] = HALVES) -> World:
    """One network twice, each for its part of the picture."""
    world = World(tuple(NetworkUse(at, strength, at=at) for at in parts), shape=(2, 8, 16))
    for deltas in world.model.deltas.values():
        deltas[1] = deltas[0]
    return world


def alone(world: World, network: int, **changes: object) -> World:
    """The same world with one of its networks."""
    single = World((replace(world.uses[network], **changes),), shape=world.shape)
    single.model.base = world.model.base
    single.model.deltas = {branch: of[[network]] for branch, of in world.model.deltas.items()}
    return single


def predictions(world: World, settings: Settings, steps: int) -> tuple[Run, list[Prediction]]:
    run = world.run(settings)
    return run, [run.step(world.evaluation(index)) for index in range(steps)]


@pytest.mark.parametrize(
    "settings", [PAPER, Settings(looks=0), Settings(looks=1), Settings(looks=2, recenter=0.5)]
)
@pytest.mark.parametrize("parts", [HALVES, ("1100/1010/0001", "0011/0101/1110"), ("01" * 8, "10" * 8)])
def test_two_parts_with_a_copy_each_are_the_network_alone(settings: Settings, parts: tuple[str, str]) -> None:
    two, one = copies(parts=parts), alone(copies(), 0, at="")
    for got, wanted in zip(predictions(two, settings, 4)[1], predictions(one, settings, 4)[1], strict=True):
        torch.testing.assert_close(got.cond, wanted.cond, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(got.uncond, wanted.uncond, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [PAPER, Settings(looks=1)])
@pytest.mark.parametrize("everywhere", ["0-1,0-1", "1", "1111/1111/1111"])
def test_everywhere_is_as_without(settings: Settings, everywhere: str) -> None:
    world = World(uses(3))
    named = World(tuple(replace(use, at=everywhere, steps="0-1", fade="1-1") for use in world.uses))
    for got, wanted in zip(
        predictions(named, settings, 4)[1], predictions(world, settings, 4)[1], strict=True
    ):
        assert torch.equal(got.cond, wanted.cond)


def area_map(at: str, height: int, width: int) -> torch.Tensor:
    found = Routes([NetworkUse("a", 1.0, at=at)]).areas(torch.zeros(1, 4, height, width))
    assert found is not None and found.shape == (1, 1, height, width)
    return found[0, 0]


def painted_share(rows: list[str], x: float, y: float) -> float:
    """The mask at a point: constant but for a ramp, 0.06 wide, over each edge of a cell."""

    def parts(at: float, count: int) -> list[tuple[int, float]]:
        nearest = round(at * count)
        way = (at - nearest / count) / 0.06 + 0.5
        if nearest in (0, count) or not 0 < way < 1:
            return [(min(int(at * count), count - 1), 1.0)]
        return [(nearest - 1, 1 - way), (nearest, way)]

    found = 0.0
    for row, down in parts(y, len(rows)):
        for column, across in parts(x, len(rows[0])):
            found += int(rows[row][column]) * down * across
    return found


@hypothesis_settings(deadline=None, max_examples=50)
@given(
    st.integers(1, 16), st.integers(1, 16), st.integers(1, 2**16 - 2), st.integers(1, 20), st.integers(1, 20)
)
def test_the_map_of_a_mask(down: int, across: int, seed: int, height: int, width: int) -> None:
    cells = np.random.default_rng(seed).integers(0, 2, (down, across))
    rows = ["".join(map(str, row)) for row in cells.tolist()]
    if cells.all() or not cells.any():
        return
    wanted = [
        [painted_share(rows, (x + 0.5) / width, (y + 0.5) / height) for x in range(width)]
        for y in range(height)
    ]
    found = area_map("/".join(rows), height, width)
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=0, atol=1e-5)
    assert found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize(
    ("rectangle", "mask"),
    [("left", "10"), ("left", "1100/1100"), ("top-right", "01/00"), ("middle", "0000/0110/0110/0000")],
)
def test_a_mask_of_a_rectangle_is_the_rectangle(rectangle: str, mask: str) -> None:
    torch.testing.assert_close(area_map(mask, 64, 48), area_map(rectangle, 64, 48), rtol=0, atol=1e-6)


@pytest.mark.parametrize("looks", [0, 2])
def test_one_network_acts_in_its_part_of_the_picture_alone(looks: int) -> None:
    world = alone(copies(), 0)
    run, found = predictions(world, Settings(looks=looks), 4)
    base = torch.tensor(world.model.base["cond"])
    whole = base + 0.8 * torch.tensor(world.model.deltas["cond"][0])
    for one in found:
        torch.testing.assert_close(one.cond[..., :7], whole[..., :7], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(one.cond[..., 10:], base[..., 10:], rtol=0, atol=1e-12)
    modes = [step.mode for step in run.report.steps]
    assert modes == ["composed"] * 4 if looks == 0 else ["composed", "placed", "placed", "composed"]
    assert run.report.steps[0].fallback is False


@pytest.mark.parametrize("settings", [PAPER, Settings(looks=0), Settings(looks=3)])
@pytest.mark.parametrize("others", [0, 1, 2])
def test_a_network_that_never_acts_is_as_if_it_were_not_there(settings: Settings, others: int) -> None:
    world = World(uses(others + 1))
    silent = World((*world.uses[:-1], replace(world.uses[-1], steps="0-0")))
    without = World(world.uses[:-1])
    without.model.base = silent.model.base
    without.model.deltas = {branch: of[:-1] for branch, of in silent.model.deltas.items()}
    run, found = predictions(silent, settings, 6)
    lacking, wanted = predictions(without, settings, 6)
    for one, other in zip(found, wanted, strict=True):
        same(one, other)
    assert [step.rows for step in run.report.steps] == [step.rows for step in lacking.report.steps]


@pytest.mark.parametrize("method", ["loratorio", "merge", "switch"])
def test_a_network_that_acts_at_no_step_is_told(method: str) -> None:
    a, b, kept = NetworkUse("a", 1.0), NetworkUse("b", 1.0), NetworkUse("kept", 1.0, compose=False)
    for used, told in (
        ((replace(a, steps="50-80"), b), ["a"]),
        ((a, replace(kept, steps="7-9")), ["kept"]),
        ((replace(a, steps="50-80"), replace(b, steps="0.95-1")), ["a", "b"]),
        ((replace(a, steps="5-6"), replace(b, fade="0-1"), replace(kept, steps="0-0")), []),
    ):
        world = World(used, total=6)
        warnings = world.report(6, Settings(looks=0), method=method).warnings
        found = [text for text in warnings if "acted at none of the 6 evaluations" in text]
        assert [text.split("'")[1] for text in found] == told and len(warnings) == len(told)
        assert all(f"steps={use.steps}" in text for use in used for text in found if f"'{use.name}'" in text)


@pytest.mark.parametrize(
    "settings",
    # Looks, and steps between them, predict the same without gain alone.
    [PAPER, Settings(looks=0), Settings(looks=3, gain=0.0), Settings(looks=3, recenter=0.5, gain=0.0)],
)
def test_a_network_that_comes_later_acts_from_its_first_step_on(settings: Settings) -> None:
    world = World(uses(3), total=10)
    later = World((*world.uses[:2], replace(world.uses[2], steps="0.4-0.8")), total=10)
    two = World(world.uses[:2], total=10)
    two.model.deltas = {branch: of[:2] for branch, of in world.model.deltas.items()}
    two.model.base = world.model.base
    run, found = predictions(later, settings, 10)
    of_two = predictions(two, settings, 10)[1]
    of_three = predictions(world, settings, 10)[1]
    for index in range(10):
        acting = 4 <= index < 8
        # The model is the same at every step, so that looks find the same at each of them.
        wanted = (of_three if acting else of_two)[index]
        torch.testing.assert_close(found[index].cond, wanted.cond, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found[index].uncond, wanted.uncond, rtol=1e-5, atol=1e-5)
        assert len(run.report.steps[index].chosen[0]) == (3 if acting else 2)
    windows = tuple(use.window for use in later.uses)
    assert [step.rows for step in run.report.steps] == list(cost(settings, 3, total=10, windows=windows))


@pytest.mark.parametrize("settings", [PAPER, Settings(looks=1), Settings(looks=0, gain=0.0)])
def test_a_strength_that_fades(settings: Settings) -> None:
    world = World((NetworkUse("a", 0.8, fade="1-0"),), total=5)
    base, delta = (torch.tensor(one) for one in (world.model.base["cond"], world.model.deltas["cond"][0]))
    for index, one in enumerate(predictions(world, settings, 5)[1]):
        torch.testing.assert_close(one.cond, base + 0.8 * (1 - index / 4) * delta, rtol=1e-6, atol=1e-6)


def test_rescans_choose_among_those_that_act() -> None:
    windows = ("", "0-0.5", "", "0.5-1")
    world = World(tuple(replace(use, steps=one) for use, one in zip(uses(4), windows, strict=True)), total=10)
    settings = Settings(looks=0, top_k=1, rescan=4, score="step")
    run, _ = predictions(world, settings, 10)
    names = [step.chosen[0] for step in run.report.steps]
    assert all("network 3" not in one for one in names[:5])
    assert all("network 1" not in one for one in names[5:])
    assert [step.scan for step in run.report.steps] == [index in (0, 4, 5, 8) for index in range(10)]
    rows = cost(settings, 4, total=10, windows=tuple(use.window for use in world.uses))
    assert [step.rows for step in run.report.steps] == list(rows)


@pytest.mark.parametrize("method", ["merge", "switch", "composite"])
def test_the_usual_ways_keep_to_the_steps(method: str) -> None:
    world = World((NetworkUse("a", 1.0), NetworkUse("b", 1.0, steps="0-0.5")), total=4)
    found = [
        world.run(Settings(), method=method, switch_every=1).step(world.evaluation(index)) for index in (3,)
    ]
    wanted = torch.tensor(world.arrays([1.0, 0.0])[0])
    torch.testing.assert_close(found[0].cond, wanted, rtol=1e-9, atol=1e-9)


def test_a_wrong_argument_is_refused_before_any_work() -> None:
    for change in ({"at": "nowhere"}, {"at": "00/00"}, {"steps": "1-0"}, {"fade": "x"}):
        with pytest.raises(ValueError, match="give"):
            Run(Settings(), [NetworkUse("a", 1.0, **change)])


def test_places_have_no_say_where_networks_are_merged() -> None:
    run = copies().run(Settings(start=0.5))
    assert run.report.warnings == (
        "where networks act merged, and with the usual methods, at= has no effect",
    )


def test_a_network_that_is_left_alone_acts_everywhere_and_not_by_the_maps_of_before() -> None:
    world = World((NetworkUse("a", 0.8), NetworkUse("b", 1.0, steps="0-0.5")), total=10)
    run, found = predictions(world, Settings(looks=2), 10)
    _, single = predictions(alone(world, 0), Settings(looks=2), 10)
    assert run.report.steps[7].mode == "placed" and run.report.steps[7].rows == 2
    torch.testing.assert_close(found[7].cond, single[7].cond, rtol=1e-5, atol=1e-5)


def test_the_report_names_those_alone_that_act() -> None:
    world = World((NetworkUse("a", 1.0), NetworkUse("b", 1.0, steps="0.5-1")), total=4)
    run, _ = predictions(world, Settings(looks=1), 4)
    assert [step.mode for step in run.report.steps] == ["placed", "placed", "composed", "placed"]
    assert [step.chosen[0] for step in run.report.steps] == [("a",)] * 2 + [("a", "b")] * 2


SIDES = st.sampled_from([(True, None), (True, True), (True, False), (False, None), (False, True)])


@st.composite
def one_sided_worlds(draw: st.DrawFn) -> World:
    """The first network is composed; of the others each may be kept, or act on one side of the guidance."""
    found = []
    for place in range(draw(st.integers(2, 4))):
        cond, uncond = draw(SIDES) if place else (True, draw(st.sampled_from([None, True, False])))
        own = OwnArguments(compose=not place or draw(st.booleans()), cond=cond, uncond=uncond)
        found.append(NetworkUse.of(f"network {place}", 0.5 + 0.25 * place, own))
    return World(tuple(found), images=draw(st.integers(1, 2)), seed=draw(st.integers(0, 99)))


@hypothesis_settings(deadline=None, max_examples=60)
@given(one_sided_worlds(), st.integers(0, 2), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 1))
def test_a_network_acts_on_the_side_that_its_tag_says(
    world: World, looks: int, recenter: float, base_calls: int
) -> None:
    """The model is linear, so that placed steps predict what full ones do, and both what the method says.

    Placed ones without gain, which makes no network stronger than its tag says there.
    """
    settings = replace(PAPER, looks=looks, recenter=recenter, gain=0.0 if looks else 0.35)
    cond, uncond, _ = reference(world, settings)
    run = world.run(settings)
    for index in range(3):
        # A host that has predicted the base does so at full steps alone.
        given_calls = base_calls if looks == 0 else 0
        found = run.step(world.evaluation(index, base_calls=given_calls))
        np.testing.assert_allclose(found.cond, cond, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(found.uncond, uncond, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("settings", [PAPER, Settings(), Settings(looks=0)])
@pytest.mark.parametrize("others", [0, 1, 3])
def test_a_network_for_the_unconditional_costs_no_rows_and_shares_no_places(
    settings: Settings, others: int
) -> None:
    negative = NetworkUse.of("negative", 0.7, OwnArguments(cond=False))
    world, without = World((*uses(others), negative)), World(uses(others))
    without.model.base = world.model.base
    without.model.deltas = {branch: of[:-1] for branch, of in world.model.deltas.items()}
    run, found = predictions(world, settings, 6)
    lacking, wanted = predictions(without, settings, 6)
    added = 0.7 * torch.tensor(world.model.deltas["uncond"][-1])
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.cond, other.cond, rtol=0, atol=0)
        torch.testing.assert_close(one.uncond, other.uncond + added, rtol=1e-9, atol=1e-9)
    assert [step.rows for step in run.report.steps] == [step.rows for step in lacking.report.steps]
    assert run.report.warnings == ()


KEPT = NetworkUse("kept", 0.7, compose=False, steps="0.5-1", fade="1-0.5")
FACTORS = (0, 0, 0, 1, 0.75, 0.5)


@pytest.mark.parametrize("settings", [PAPER, Settings(looks=0)])
def test_a_kept_network_keeps_to_its_steps(settings: Settings) -> None:
    found = predictions(World((*uses(2), KEPT), total=6), settings, 6)[1]
    for one, factor in zip(found, FACTORS, strict=True):
        cond, uncond, _ = reference(
            World((*uses(2), replace(KEPT, strength=0.7 * factor, steps="", fade=""))), settings
        )
        np.testing.assert_allclose(one.cond, cond, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(one.uncond, uncond, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("recenter", [0.5, 1.0])
def test_a_kept_network_keeps_to_its_steps_where_others_are_placed(recenter: float) -> None:
    world, without = World((*uses(2), KEPT), total=6), World(uses(2), total=6)
    without.model.base = world.model.base
    without.model.deltas = {branch: of[:2] for branch, of in world.model.deltas.items()}
    run, found = predictions(world, Settings(looks=1, recenter=recenter), 6)
    wanted = predictions(without, Settings(looks=1, recenter=recenter), 6)[1]
    assert [step.mode for step in run.report.steps] == ["composed"] + ["placed"] * 5
    cond, uncond = (torch.tensor(world.model.deltas[branch][-1]) for branch in ("cond", "uncond"))
    for one, other, factor in zip(found, wanted, FACTORS, strict=True):
        torch.testing.assert_close(one.cond, other.cond + 0.7 * factor * cond, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(one.uncond, other.uncond + 0.7 * factor * uncond, rtol=1e-6, atol=1e-6)


def test_without_guidance_it_is_said_that_there_is_no_side_to_act_on() -> None:
    run = World((*uses(1), NetworkUse.of("negative", 0.7, OwnArguments(cond=False))), guided=False).run(
        Settings()
    )
    run.is_unguided()
    (warning,) = run.report.warnings
    assert "no unconditional prediction for network 'negative'" in warning
