"""Values, layouts and sizes at the edges: nothing becomes NaN, and no network harms another."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from loratorio_ext.method import RowMap
from tests.method import cases

# As float32: the largest and smallest magnitudes that a factor of 4 keeps finite, subnormals among them.
EXTREMES = [0.0, -0.0, 1.0, -2.5, 1e30, -1e30, 1e-30, -3e-30, 1e-40, -1e-45]
BAD = [math.nan, math.inf, -math.inf]
TENSORS = ("base_cond", "network_conds", "base_uncond", "network_unconds")


def extreme(data: st.DataObject, *shape: int) -> Tensor:
    count = int(np.prod(shape))
    values = data.draw(st.lists(st.sampled_from(EXTREMES), min_size=count, max_size=count))
    return torch.tensor(values, dtype=torch.float32).reshape(shape)


def outputs(got: Any) -> list[Tensor]:
    return [got.cond, got.similarity, got.weights] + ([] if got.uncond is None else [got.uncond])


@settings(max_examples=80, deadline=None)
@given(data=st.data(), networks=st.integers(1, 3), temperature=st.sampled_from([1e-300, 1e-4, 0.1, 1e300]))
def test_extreme_values_stay_finite_and_right(data: st.DataObject, networks: int, temperature: float) -> None:
    size = (1, 2, 2, 3)
    case = cases.make(0, networks=networks, rows=1, patch_size=2).but(
        base_cond=extreme(data, *size),
        network_conds=extreme(data, networks, *size),
        base_uncond=extreme(data, *size),
        network_unconds=extreme(data, networks, *size),
        temperature=temperature,
    )
    got = case.run()
    assert all(tensor.isfinite().all() for tensor in outputs(got))
    assert got.finite.all()
    expected = case.run_reference().similarity
    np.testing.assert_allclose(cases.as_float64(got.similarity), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(got.weights.sum(0), torch.ones(1, 1, 2), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("power", [-1, 1])
def test_ends_of_the_small_dtypes(dtype: torch.dtype, power: int) -> None:
    """The largest values and the subnormals of a dtype: the squares of both lie outside it."""
    finfo = torch.finfo(dtype)
    top = finfo.max / 8 if power > 0 else finfo.smallest_normal / 2
    case = cases.make(1, networks=16, rows=1, dtype=torch.float64)
    scale = top / max(float(case.network_conds.abs().max()), float(case.network_unconds.abs().max()))
    got = case.but(**{name: (getattr(case, name) * scale).to(dtype) for name in TENSORS}).run()
    assert all(tensor.isfinite().all() for tensor in outputs(got))
    assert got.cond.dtype == dtype
    torch.testing.assert_close(got.similarity, case.run().similarity, rtol=0, atol=0.02)


def test_patches_of_zeros() -> None:
    case = cases.make(2, networks=2, rows=1, size=(2, 4, 4))
    case = case.with_value("base_cond", (..., slice(2), slice(None)), 0)
    for part in (slice(2), slice(2, None)):
        case = case.with_value("network_conds", (0, ..., part, part), 0)
    s = case.run().similarity[:, 0]
    assert s[0, 0, 0] == 1  # both zero
    assert s[0, 0, 1] == s[1, 0, 0] == s[1, 0, 1] == 0  # the base alone is zero
    assert s[0, 1, 1] == 0  # the network alone is zero


@cases.drawn(bad=st.sampled_from(BAD), guilty=st.sampled_from(["cond", "uncond"]))
def test_a_network_that_is_not_finite_is_left_out_of_its_row(
    data: st.DataObject, bad: float, guilty: str
) -> None:
    case = data.draw(
        cases.cases(cases.DTYPES, plain=True, recenter=0.5).filter(lambda c: c.base_uncond is not None)
    )
    networks, rows = case.network_conds.shape[:2]
    i, r = data.draw(st.integers(0, networks - 1)), data.draw(st.integers(0, rows - 1))
    name = f"network_{guilty}s"
    poisoned = getattr(case, name).clone()
    poisoned[i, r].view(-1)[data.draw(st.integers(0, poisoned[i, r].numel() - 1))] = bad
    got = case.but(**{name: poisoned}).run()

    active = torch.ones(networks, rows, dtype=torch.bool)
    active[i, r] = False
    expected = case.but(active=active).run()
    assert torch.equal(got.finite, active)
    assert all(torch.equal(a, b) for a, b in zip(outputs(got), outputs(expected), strict=True))
    assert all(tensor.isfinite().all() for tensor in outputs(got))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("recenter", [0.0, 0.5])
def test_without_any_finite_network_the_base_is_used(bad: float, recenter: float) -> None:
    case = cases.make(3, recenter=recenter)
    got = case.with_value("network_conds", (slice(None), 0, 0, 0, 0), bad).run()
    assert torch.equal(got.cond[0], case.base_cond[0])
    assert torch.equal(got.uncond[0], case.base_uncond[0])
    assert not got.finite[:, 0].any() and got.finite[:, 1].all()
    assert (got.weights[:, 0] == 0).all() and (got.similarity[:, 0] == 1).all()
    assert torch.equal(got.cond[1], case.run().cond[1])


def test_without_any_active_network_the_base_is_used() -> None:
    case = cases.make(4).but(active=torch.zeros(3, dtype=torch.bool))
    got = case.run()
    assert torch.equal(got.cond, case.base_cond) and torch.equal(got.uncond, case.base_uncond)
    assert (got.weights == 0).all() and got.finite.all()


def test_what_an_inactive_network_holds_is_not_looked_at() -> None:
    case = cases.make(5).but(active=torch.tensor([True, False, True]))
    got = case.with_value("network_conds", 1, math.nan).run()
    assert torch.equal(got.cond, case.run().cond) and got.finite.all()


def test_a_subprompt_that_no_network_serves_leaves_the_mean_to_the_others() -> None:
    case = cases.make(6, rows=2, images=1).but(row_map=RowMap((0, 0), (1.0, 1.0)))
    got = case.with_value("network_conds", (slice(None), 1), math.inf).run()
    served = case.but(
        base_cond=case.base_cond[:1], network_conds=case.network_conds[:, :1], row_map=None
    ).run()
    assert torch.equal(got.cond[1], case.base_cond[1])
    assert torch.equal(got.uncond, served.uncond)


def test_a_base_that_is_not_finite_stays_visible() -> None:
    case = cases.make(7)
    for name in ("base_cond", "base_uncond"):
        case = case.with_value(name, (0, 0, 0, 0), math.nan)
    got = case.run()
    assert got.similarity.isfinite().all() and (got.similarity[:, 0, 0, 0] == 0).all()
    assert got.uncond[0, 0, 0, 0].isnan() and got.uncond[1].isfinite().all()


def test_compare_as_that_overflows_counts_as_not_finite() -> None:
    case = cases.make(8, networks=2, rows=1)
    conds = case.network_conds.clone()
    conds[1] *= 1e38
    got = case.but(network_conds=conds, latent=torch.full((1, 4, 6, 8), 3e38)).run()
    assert got.finite.tolist() == [[True], [False]]
    assert all(tensor.isfinite().all() for tensor in outputs(got))


@cases.drawn()
def test_memory_layout_does_not_matter(data: st.DataObject) -> None:
    case = data.draw(cases.cases(cases.DTYPES, plain=True))

    def strided(tensor: Tensor | None) -> Tensor | None:
        if tensor is None:
            return None
        wide = torch.stack([torch.full_like(tensor, float("nan")), tensor], dim=-1)
        return wide[..., 1]

    def channels_last(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.movedim(-3, -1).contiguous().movedim(-1, -3)

    expected = outputs(case.run())
    for layout in (strided, channels_last):
        got = outputs(case.but(**{name: layout(getattr(case, name)) for name in TENSORS}).run())
        for a, b in zip(got, expected, strict=True):
            largest = float(b.abs().max()) + 1
            torch.testing.assert_close(a, b, rtol=0, atol=8 * largest * torch.finfo(b.dtype).eps + 1e-4)


@pytest.mark.parametrize("networks", [1, 16])
@pytest.mark.parametrize("patch_size", [1, 3, 64, 10**9])
def test_sizes(networks: int, patch_size: int) -> None:
    case = cases.make(9, networks=networks, rows=1, size=(3, 5, 7), patch_size=patch_size)
    got = case.run()
    assert got.weights.shape[-2:] == (-(-5 // patch_size), -(-7 // patch_size))
    if patch_size < 100:
        expected = case.run_reference()
        np.testing.assert_allclose(cases.as_float64(got.cond), expected.cond, rtol=0, atol=1e-5)
        np.testing.assert_allclose(cases.as_float64(got.uncond), expected.uncond, rtol=0, atol=1e-5)


@cases.drawn(inference=st.booleans())
def test_inputs_are_neither_modified_nor_shared(data: st.DataObject, inference: bool) -> None:
    case = data.draw(cases.cases(cases.DTYPES))
    held = (getattr(case, name) for name in (*TENSORS, "active", "latent"))
    inputs = [tensor for tensor in held if tensor is not None]
    before = [tensor.clone() for tensor in inputs]
    with torch.inference_mode(inference):
        for tensor in outputs(case.run()):
            tensor.zero_()
    assert all(torch.equal(a, b) for a, b in zip(inputs, before, strict=True))


@pytest.mark.parametrize("top_k_scope", ["image", "patch"])
@pytest.mark.parametrize("recenter", [0.0, 0.5, 1.0])
def test_nothing_asks_for_a_value(top_k_scope: str, recenter: float) -> None:
    """Tensors on the meta device have no values: asking for one, which on a GPU would wait for it, raises."""
    case = cases.make(10, rows=3, images=2, top_k=2, top_k_scope=top_k_scope, recenter=recenter)
    case = case.but(
        **{name: getattr(case, name).to("meta") for name in TENSORS},
        active=torch.ones(3, 3, dtype=torch.bool, device="meta"),
        latent=torch.zeros(1, 4, 6, 8, device="meta"),
        row_map=RowMap((0, 1, 0), (1.0, 1.0, -0.5)),
    )
    got = case.run()
    assert got.cond.shape == (3, 4, 6, 8) and got.uncond.shape == (2, 4, 6, 8)


@pytest.mark.parametrize("autocast", [torch.bfloat16, torch.float16], ids=str)
def test_autocast_changes_nothing(autocast: torch.dtype) -> None:
    case = cases.make(11, dtype=torch.float16, top_k=2)
    with torch.autocast("cpu", dtype=autocast):
        got = outputs(case.run())
    assert all(torch.equal(a, b) for a, b in zip(got, outputs(case.run()), strict=True))
