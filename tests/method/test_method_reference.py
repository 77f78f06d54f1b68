"""`compose` against the plain float64 reference. Figures: pytest -s -k largest_errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings, strategies as st

from tests.method import cases


def choice_is_clear(expected: Any, case: Any) -> bool:
    """Whether no two networks are so close at the k-th place that rounding may decide between them."""
    k, s = case.settings["top_k"], expected.similarity
    if case.active is not None:
        active = case.active.numpy()
        active = active[:, None] if active.ndim == 1 else active
        s = np.where(active[:, :, None, None], s, np.inf)
    if k == 0 or k >= len(s):
        return True
    if case.settings["top_k_scope"] == "image":
        s = s.mean(axis=(2, 3))
    s = np.sort(s, axis=0)
    with np.errstate(invalid="ignore"):
        gap = s[k] - s[k - 1]
    distance = np.sqrt(2 * (1 - expected.similarity).clip(0)).max()
    return bool((np.isnan(gap) | (gap > 1e-14 + 1e-6 * distance)).all())


def of_ratios(expected: Any, accurate: float, temperature: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Largest error of each weight that rounding explains where weights go by ratios: [N, R, h, w].

    A unit vector is right to ``accurate``, so a divergence to 2 · accurate / distance of itself, and its
    power to 1/τ times as much. Beyond a half that is no small change any more, and anything may come out.
    """
    distance = np.sqrt(2 * expected.divergence)
    # The mean is at most as wrong as its patches.
    off = np.divide(32 * accurate, distance, out=np.zeros_like(distance), where=distance > 0) / temperature
    spread = (expected.weights * off).sum(0)
    allowed = expected.weights * (off + spread)
    return np.where((off > 0.5).any(0), 1.0, 2 * allowed) + 16 * accurate


def tolerances(expected: Any, case: Any) -> tuple[Any, float]:
    """Largest error that rounding explains, of the weights and of a composed prediction."""
    dtype = case.base_cond.dtype
    accurate = torch.finfo(torch.float64 if dtype == torch.float64 else torch.float32).eps
    distance = np.sqrt(2 * (1 - expected.similarity).clip(0)).max()
    # The reference takes 1 - cos of a cosine near 1, so in float64 its own rounding is as large as ours.
    of_s = accurate * (1 if dtype == torch.float64 else distance)
    # Composition.weights is float32, whatever it was calculated in.
    weight: Any = 16 * (accurate + of_s / case.settings["temperature"])
    if case.settings.get("weighting") == "relative":
        weight = of_ratios(expected, float(accurate), case.settings["temperature"])
    largest = max(float(t.abs().max()) for t in (case.base_cond, case.network_conds))
    if case.base_uncond is not None:
        largest = max(largest, *(float(t.abs().max()) for t in (case.base_uncond, case.network_unconds)))
    # A gain multiplies what is left of the difference to the base.
    largest *= len(expected.weights) ** case.settings.get("gain", 0.0) * 2
    value = largest * (len(expected.weights) * np.max(weight) + 2 * torch.finfo(dtype).eps)
    return weight + torch.finfo(torch.float32).eps, value + torch.finfo(dtype).smallest_normal


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_equals_the_reference(data: st.DataObject) -> None:
    case = data.draw(cases.cases(dtypes=cases.DTYPES))
    case = case.but(gain=data.draw(st.sampled_from([0.0, 0.0, 0.3, 1.0])))
    expected = case.run_reference()
    assume(choice_is_clear(expected, case))
    got = case.run()

    weight, value = tolerances(expected, case)
    as_float64 = cases.as_float64
    assert (np.abs(as_float64(got.weights) - expected.weights) <= weight).all()
    np.testing.assert_allclose(as_float64(got.similarity), expected.similarity, rtol=0, atol=1e-6)
    np.testing.assert_allclose(as_float64(got.cond), expected.cond, rtol=0, atol=value)
    assert (got.uncond is None) == (expected.uncond is None)
    if got.uncond is not None:
        np.testing.assert_allclose(as_float64(got.uncond), expected.uncond, rtol=0, atol=value)
    assert np.array_equal(got.finite.numpy(), expected.finite)

    assert got.cond.dtype == case.base_cond.dtype
    assert got.weights.dtype == got.similarity.dtype == torch.float32
    d, (height, width) = case.settings["patch_size"], case.base_cond.shape[-2:]
    assert got.weights.shape == (*case.network_conds.shape[:2], -(-height // d), -(-width // d))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_weights_are_positive_and_sum_to_one(data: st.DataObject) -> None:
    got = data.draw(cases.cases(dtypes=cases.DTYPES, active=None)).run()
    assert (got.weights >= 0).all()
    assert torch.allclose(got.weights.sum(0), torch.ones(()), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_largest_errors(dtype: torch.dtype, record_property: Callable[[str, object], None]) -> None:
    """Largest errors over a fixed set of cases: typical similarities, τ down to 0.001 (by ratios: 0.1)."""
    largest = {"similarity": 0.0, "weights": 0.0, "cond": 0.0, "uncond": 0.0}
    compared = 0
    for seed in range(24):
        ratio = seed // 4 % 2
        case = cases.make(
            seed,
            networks=2 + seed % 4,
            size=(4, 9, 7),
            spread=(0.01, 0.1, 0.4)[seed % 3],
            dtype=dtype,
            patch_size=(1, 2, 4)[seed % 3],
            temperature=((1.0, 0.1, 0.01, 0.001), (2.0, 1.0, 0.5, 0.1))[ratio][seed % 4],
            top_k=(0, 2)[seed % 2],
            top_k_scope=("image", "patch")[seed // 2 % 2],
            weighting=("difference", "relative")[ratio],
        )
        expected, got = case.run_reference(), case.run()
        if not choice_is_clear(expected, case):  # 16 bits of input leave few distinct similarities
            continue
        compared += 1
        scale = float(case.network_conds.abs().max())
        for name in ("similarity", "weights", "cond", "uncond"):
            error = np.abs(cases.as_float64(getattr(got, name)) - getattr(expected, name)).max()
            largest[name] = max(largest[name], error / (scale if "cond" in name else 1))
    assert compared >= 20
    for name, error in largest.items():
        record_property(f"{dtype} {name}", float(error))
    print(f"\n{dtype}: " + ", ".join(f"{name} {error:.1e}" for name, error in largest.items()))

    assert largest["similarity"] < 2e-7
    assert largest["weights"] < {torch.float64: 1e-7}.get(dtype, 1e-4)
    rounding = torch.finfo(dtype).eps
    assert max(largest["cond"], largest["uncond"]) < max(rounding, {torch.float64: 1e-12}.get(dtype, 2e-5))
