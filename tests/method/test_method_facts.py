"""What the paper's equations imply, whatever the predictions are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st

from loratorio_ext.method import RowMap, aggregate, to_patches, upsample
from tests.method import cases


def rounding(case: Any, ulps: float = 8.0) -> dict[str, float]:
    """Tolerances of rounding alone, for predictions of the case's size and dtype."""
    largest = float(case.network_conds.abs().max().clamp(min=float(case.base_cond.abs().max())))
    if case.network_unconds is not None:
        largest = max(largest, float(case.network_unconds.abs().max()), float(case.base_uncond.abs().max()))
    return {"rtol": 0, "atol": ulps * torch.finfo(case.base_cond.dtype).eps * largest}


def assert_same_picture(got: Any, expected: Any, **tolerance: float) -> None:
    torch.testing.assert_close(got.cond, expected.cond, **tolerance)
    assert (got.uncond is None) == (expected.uncond is None)
    if got.uncond is not None:
        torch.testing.assert_close(got.uncond, expected.uncond, **tolerance)


def permuted(case: Any, order: list[int]) -> Any:
    unconds = None if case.network_unconds is None else case.network_unconds[order]
    active = None if case.active is None else case.active[order]
    return case.but(network_conds=case.network_conds[order], network_unconds=unconds, active=active)


@cases.drawn()
def test_one_network_at_lambda_0_is_that_network(data: st.DataObject) -> None:
    case = data.draw(cases.cases(cases.DTYPES, max_networks=1, plain=True, recenter=0.0))
    got = case.run()
    assert torch.equal(got.cond, case.network_conds[0])
    if case.base_uncond is not None:
        assert torch.equal(got.uncond, case.network_unconds[0])
    assert (got.weights == 1).all()


@cases.drawn()
def test_the_same_network_twice_is_once(data: st.DataObject) -> None:
    case = data.draw(cases.cases(cases.DTYPES, max_networks=1, plain=True))
    copies = data.draw(st.integers(2, 5))
    assert_same_picture(permuted(case, [0] * copies).run(), case.run(), **rounding(case))


@cases.drawn()
def test_order_of_networks_does_not_matter(data: st.DataObject) -> None:
    # Patches of one number have a cosine of exactly 1 or -1: different networks tie, and ties go by order.
    case = data.draw(cases.cases(cases.DTYPES).filter(lambda case: case.base_cond.shape[1] > 1))
    order = data.draw(st.permutations(range(len(case.network_conds))))
    got, expected = permuted(case, order).run(), case.run()
    assert torch.equal(got.similarity, expected.similarity[order])
    torch.testing.assert_close(got.weights, expected.weights[order], rtol=0, atol=1e-6)
    assert torch.equal(got.finite, expected.finite[order])
    assert_same_picture(got, expected, **rounding(case))


@cases.drawn()
def test_k_of_n_or_more_is_no_selection(data: st.DataObject) -> None:
    case = data.draw(cases.cases(cases.DTYPES, top_k=0))
    more = len(case.network_conds) + data.draw(st.integers(0, 3))
    got, expected = case.but(top_k=more).run(), case.run()
    assert torch.equal(got.weights, expected.weights)
    assert_same_picture(got, expected, rtol=0, atol=0)


@cases.drawn()
def test_k_1_per_image_is_one_network_alone(data: st.DataObject) -> None:
    case = data.draw(cases.cases(cases.DTYPES, plain=True, top_k=1, top_k_scope="image", recenter=0.0))
    got = case.run()
    chosen = got.weights.amax(dim=(-2, -1)).argmax(dim=0)
    for row, network in enumerate(chosen.tolist()):
        alone = torch.zeros_like(got.weights[:, row])
        alone[network] = 1
        assert torch.equal(got.weights[:, row], alone)
        assert torch.equal(got.cond[row], case.network_conds[network, row])
        if case.base_uncond is not None:
            assert torch.equal(got.uncond[row], case.network_unconds[network, row])


@cases.drawn()
def test_at_most_k_networks_speak_at_a_patch(data: st.DataObject) -> None:
    case = data.draw(cases.cases(max_networks=5))
    kept = case.settings["top_k"] or len(case.network_conds)
    assert ((case.run().weights > 0).sum(dim=0) <= kept).all()


@cases.drawn()
def test_the_choice_per_patch_takes_the_most_divergent_there(data: st.DataObject) -> None:
    case = data.draw(cases.cases(plain=True, top_k=2, top_k_scope="patch", temperature=1.0))
    got = case.run()
    if len(case.network_conds) > 2:
        third = got.similarity.sort(dim=0).values[2]
        assert (got.similarity[got.selected] <= third.expand_as(got.weights)[got.selected]).all()
        assert (got.selected.sum(dim=0) == 2).all()
        # By relative weights one that does not diverge at all keeps quiet though it is chosen.
        speaks = (got.weights > 0) | (got.divergence == 0)
        assert (speaks & got.selected == got.selected).all() and not got.weights[~got.selected].any()


@cases.drawn()
def test_large_temperature_is_composite(data: st.DataObject) -> None:
    # By ratios a network that does not diverge at all has no weight at any temperature.
    case = data.draw(
        cases.cases(cases.DTYPES, plain=True, top_k=0, temperature=1e30, recenter=0.0, weighting="difference")
    )
    got, tolerance = case.run(), rounding(case)
    mean = case.network_conds.double().mean(0)
    torch.testing.assert_close(got.cond.double(), mean, **tolerance)
    if case.base_uncond is not None:
        torch.testing.assert_close(got.uncond.double(), case.network_unconds.double().mean(0), **tolerance)


@cases.drawn(gain=st.sampled_from([0.3, 1.0]), k=st.integers(0, 4))
def test_gain_multiplies_what_the_networks_add(data: st.DataObject, gain: float, k: int) -> None:
    case = data.draw(cases.cases((torch.float64,), plain=True, top_k=k))
    plain, got = case.run(), case.but(gain=gain).run()
    assert torch.equal(got.weights, plain.weights)
    factor = min(len(case.network_conds), k or 99) ** gain
    tolerance = rounding(case, 32)
    torch.testing.assert_close(got.cond, case.base_cond + factor * (plain.cond - case.base_cond), **tolerance)
    if case.base_uncond is not None:
        expected = case.base_uncond + factor * (plain.uncond - case.base_uncond)
        torch.testing.assert_close(got.uncond, expected, **tolerance)


@cases.drawn()
def test_gain_1_with_equal_weights_sums_all_that_the_networks_add(data: st.DataObject) -> None:
    case = data.draw(
        cases.cases((torch.float64,), plain=True, top_k=0, temperature=1e30, weighting="difference")
    )
    got = case.but(gain=1.0).run()
    added = (case.network_conds - case.base_cond).sum(0)
    torch.testing.assert_close(got.cond, case.base_cond + added, **rounding(case, 64))


@cases.drawn(factor=st.floats(0.05, 0.5))
def test_relative_weights_stay_when_all_networks_come_nearer_to_the_base(
    data: st.DataObject, factor: float
) -> None:
    """Of small differences: half the difference is a quarter of the divergence, for every network."""
    case = data.draw(
        cases.cases((torch.float64,), plain=True, top_k=0, weighting="relative", temperature=1.0)
    )
    base = case.base_cond
    near = base + 1e-4 * (case.network_conds - base)
    nearer = base + factor * (near - base)
    # A patch that is all but zero turns a small difference into another direction altogether.
    if to_patches(base, case.settings["patch_size"]).norm(dim=-1).min() < 0.1 * base.abs().max():
        return
    got = case.but(network_conds=nearer, network_unconds=None, recenter=1.0).run()
    expected = case.but(network_conds=near, network_unconds=None, recenter=1.0).run()
    if (expected.divergence.sum(0) == 0).any():
        return
    torch.testing.assert_close(got.weights, expected.weights, rtol=0, atol=0.02)


@cases.drawn()
def test_small_temperature_is_the_most_divergent_network_at_each_patch(data: st.DataObject) -> None:
    fixed = {"plain": True, "top_k": 0, "recenter": 0.0, "weighting": "difference"}
    case = data.draw(cases.cases((torch.float64,), **fixed))
    case = case.but(base_cond=case.base_cond + 1)  # no cosine of exactly ±1 in both of two networks
    s = case.run_reference().similarity
    ranked = np.sort(s, axis=0)
    if len(s) > 1 and (ranked[1] - ranked[0]).min() < 1e-9:
        return
    got = case.but(temperature=1e-15).run()
    alone = np.equal(s, ranked[0])
    assert np.array_equal(got.weights.numpy(), alone.astype(np.float32))
    height, width = case.base_cond.shape[-2:]
    up = upsample(torch.from_numpy(alone).double(), case.settings["patch_size"], (height, width))
    assert torch.equal(got.cond, aggregate(case.network_conds, up, case.base_cond))


@cases.drawn(scope=st.sampled_from(["image", "patch"]))
def test_a_network_of_strength_0_has_the_lowest_weight(data: st.DataObject, scope: str) -> None:
    case = data.draw(cases.cases(cases.DTYPES, max_networks=3, plain=True, top_k=0, top_k_scope=scope))
    conds = torch.cat([case.network_conds, case.base_cond[None]])
    unconds = None if case.base_uncond is None else torch.cat([case.network_unconds, case.base_uncond[None]])
    got = case.but(network_conds=conds, network_unconds=unconds).run()
    assert (got.similarity[-1] == 1).all()
    assert (got.weights[-1] <= got.weights[:-1]).all()


@cases.drawn()
def test_networks_of_strength_0_alone_give_the_base(data: st.DataObject) -> None:
    case = data.draw(cases.cases(cases.DTYPES, plain=True))
    conds = case.base_cond.expand_as(case.network_conds)
    unconds = None if case.base_uncond is None else case.base_uncond.expand_as(case.network_unconds)
    got = case.but(network_conds=conds, network_unconds=unconds).run()
    torch.testing.assert_close(got.cond, case.base_cond, **rounding(case))
    if case.base_uncond is not None:
        torch.testing.assert_close(got.uncond, case.base_uncond, **rounding(case))


@cases.drawn()
def test_lambda_1_is_the_base_to_the_bit_and_needs_no_unconditionals(data: st.DataObject) -> None:
    case = data.draw(cases.cases(cases.DTYPES, recenter=1.0))
    expected = case.run()
    got = case.but(network_unconds=None).run()
    assert torch.equal(got.cond, expected.cond)
    if case.base_uncond is not None:
        assert torch.equal(got.uncond, case.base_uncond)
        assert torch.equal(expected.uncond, case.base_uncond)


@cases.drawn()
def test_rows_do_not_touch_each_other(data: st.DataObject) -> None:
    case = data.draw(cases.cases(plain=True))
    together = case.run()
    for row in range(len(case.base_cond)):
        guided = case.base_uncond is not None
        alone = case.but(
            base_cond=case.base_cond[row : row + 1],
            network_conds=case.network_conds[:, row : row + 1],
            base_uncond=case.base_uncond[row : row + 1] if guided else None,
            network_unconds=case.network_unconds[:, row : row + 1] if guided else None,
        ).run()
        torch.testing.assert_close(alone.cond[0], together.cond[row], **rounding(case, 2))


@cases.drawn()
def test_inactive_networks_are_as_if_not_there(data: st.DataObject) -> None:
    case = data.draw(cases.cases(max_networks=5, plain=True))
    networks = len(case.network_conds)
    keep = sorted(data.draw(st.sets(st.integers(0, networks - 1), min_size=1)))
    active = torch.tensor([i in keep for i in range(networks)])
    got, expected = case.but(active=active).run(), permuted(case, keep).run()
    assert (got.weights[~active] == 0).all()
    assert (got.similarity[~active] == 1).all()
    torch.testing.assert_close(got.weights[keep], expected.weights, rtol=0, atol=1e-6)
    assert_same_picture(got, expected, **rounding(case))


@cases.drawn(sign=st.sampled_from([1.0, -1.0]))
def test_one_subprompt_per_image_is_as_none(data: st.DataObject, sign: float) -> None:
    case = data.draw(cases.cases(plain=True))
    rows = len(case.base_cond)
    weights = tuple(sign * data.draw(st.floats(0, 1e308)) for _ in range(rows))
    got = case.but(row_map=RowMap(tuple(range(rows)), weights)).run()
    assert_same_picture(got, case.run(), rtol=0, atol=0)


@pytest.mark.parametrize("weights", [(1.0, 3.0), (-1.0, 3.0), (0.0, 0.0), (1e308, 1e308)])
def test_unconditional_has_the_mean_of_its_rows_weights(weights: tuple[float, float]) -> None:
    case = cases.make(0, rows=2, images=1, dtype=torch.float64, recenter=0.0)
    got = case.but(row_map=RowMap((0, 0), weights)).run()
    first = 0.25 if abs(weights[1]) == 3 else 0.5
    shared = first * got.weights[:, :1] + (1 - first) * got.weights[:, 1:]
    expected = aggregate(case.network_unconds, upsample(shared.double(), 2, (6, 8)), case.base_uncond)
    torch.testing.assert_close(got.uncond, expected, rtol=0, atol=1e-6)


@cases.drawn()
def test_scaling_the_compared_predictions_changes_no_similarity(data: st.DataObject) -> None:
    """(x - x0) / σ and x - x0 have the same cosine."""
    case = data.draw(cases.cases((torch.float64,), plain=True))
    factor = data.draw(st.floats(1e-30, 1e30))
    scaled = case.but(base_cond=case.base_cond * factor, network_conds=case.network_conds * factor)
    torch.testing.assert_close(scaled.run().similarity, case.run().similarity, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_rounding_gives_a_silent_network_no_voice(dtype: torch.dtype) -> None:
    """A network that says nothing, rounded otherwise by another call, beside one that speaks."""
    case = cases.make(3, networks=2, dtype=torch.float64, spread=0.3, weighting="relative", temperature=0.25)
    silent = case.base_cond * (1 + torch.finfo(dtype).eps * torch.randn_like(case.base_cond))
    conds = torch.stack([case.network_conds[0], silent]).to(dtype)
    got = case.but(base_cond=case.base_cond.to(dtype), network_conds=conds, base_uncond=None).but(
        network_unconds=None
    )
    assert got.run().weights[1].mean() < 0.05
