"""Networks that may speak in a part of the picture only."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from loratorio_ext.method import Composition, compose
from tests.method.cases import Case, make

SIZE = (4, 6, 8)


def composed(case: Case, places: torch.Tensor | None) -> Composition:
    return compose(
        case.base_cond,
        case.network_conds,
        case.base_uncond,
        case.network_unconds,
        places=places,
        rows=case.row_map,
        **case.settings,
    )


def left(width: int = 8, height: int = 6) -> torch.Tensor:
    return (torch.arange(width) < width // 2).float().expand(1, 1, height, width)


@pytest.mark.parametrize("weighting", ["relative", "difference"])
@pytest.mark.parametrize("gain", [0.0, 0.35])
def test_everywhere_is_as_without_places(weighting: str, gain: float) -> None:
    case = make(1, dtype=torch.float64, weighting=weighting, gain=gain)
    got, wanted = composed(case, torch.ones(3, 1, *SIZE[1:])), composed(case, None)
    for name in ("cond", "uncond", "weights"):
        torch.testing.assert_close(getattr(got, name), getattr(wanted, name), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("weighting", ["relative", "difference"])
def test_a_network_without_a_place_is_as_if_it_were_not_there(weighting: str) -> None:
    case = make(2, dtype=torch.float64, weighting=weighting, gain=0.35)
    places = torch.ones(3, 1, *SIZE[1:])
    places[1] = 0
    without = case.but(network_conds=case.network_conds[[0, 2]], network_unconds=case.network_unconds[[0, 2]])
    got, wanted = composed(case, places), composed(without, None)
    torch.testing.assert_close(got.cond, wanted.cond, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(got.uncond, wanted.uncond, rtol=1e-6, atol=1e-6)
    assert not got.weights[1].any()


@pytest.mark.parametrize("weighting", ["relative", "difference"])
@pytest.mark.parametrize("soft", [False, True])
def test_two_copies_with_half_the_picture_each_are_the_network_alone(weighting: str, soft: bool) -> None:
    # Whatever a copy says elsewhere: the other half would drown it out.
    case = make(3, networks=1, dtype=torch.float64, weighting=weighting, gain=0.35, temperature=0.001)
    two = case.but(
        network_conds=case.network_conds.repeat(2, 1, 1, 1, 1),
        network_unconds=case.network_unconds.repeat(2, 1, 1, 1, 1),
    )
    half = left()
    if soft:
        half = half.clone()
        half[..., 2:6] = torch.tensor([0.9, 0.6, 0.4, 0.1])
    got, wanted = composed(two, torch.cat([half, 1 - half])), composed(case, None)
    torch.testing.assert_close(got.cond, wanted.cond, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(got.uncond, wanted.uncond, rtol=1e-6, atol=1e-6)


def test_what_all_leave_over_is_the_base_s() -> None:
    case = make(4, networks=1, dtype=torch.float64, recenter=0.0, patch_size=1)
    places = torch.rand(1, 1, *SIZE[1:], dtype=torch.float64)
    got = composed(case, places)
    wanted = case.base_cond + places[0] * (case.network_conds[0] - case.base_cond)
    torch.testing.assert_close(got.cond, wanted, rtol=1e-6, atol=1e-6)
    outside = composed(case, torch.zeros_like(places))
    torch.testing.assert_close(outside.cond, case.base_cond, rtol=0, atol=0)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(1, 4),
    st.sampled_from(["relative", "difference"]),
    st.sampled_from([0, 1, 2]),
    st.integers(1, 3),
)
def test_weights_at_every_patch(
    seed: int, networks: int, weighting: str, top_k: int, patch_size: int
) -> None:
    chosen = {"weighting": weighting, "top_k": top_k, "top_k_scope": "patch", "patch_size": patch_size}
    case = make(seed, networks=networks, dtype=torch.float64, gain=0.35, recenter=1.0, **chosen)
    places = np.random.default_rng(seed).choice([0.0, 0.3, 1.0], size=(networks, 2, *SIZE[1:]))
    got = composed(case, torch.from_numpy(places))
    divergence = got.divergence.numpy()
    of_means = divergence / divergence.mean((2, 3), keepdims=True)
    tau, (count, rows, height, width) = 0.1, divergence.shape
    for row in range(rows):
        for y in range(height):
            for x in range(width):
                patch = np.s_[
                    row, y * patch_size : (y + 1) * patch_size, x * patch_size : (x + 1) * patch_size
                ]
                inside = [places[i][patch].mean() for i in range(count)]
                allowed = sorted(
                    (i for i in range(count) if inside[i] > 0), key=lambda i: -divergence[i, row, y, x]
                )
                allowed = allowed[:top_k] if 0 < top_k < count else allowed
                force = {
                    i: of_means[i, row, y, x] ** (1 / tau)
                    if weighting == "relative"
                    else np.exp(divergence[i, row, y, x] / tau)
                    for i in allowed
                }
                total = sum(inside[i] * force[i] for i in allowed)
                share = min(1.0, sum(inside[i] for i in allowed))
                wanted = [share * inside[i] * force[i] / total if i in allowed else 0.0 for i in range(count)]
                np.testing.assert_allclose(got.weights[:, row, y, x], wanted, rtol=2e-4, atol=1e-6)


def test_wrong_places_are_refused() -> None:
    case = make(5)
    with pytest.raises(ValueError, match=r"places has shape \(3, 6, 8\); give \[3, 2, 6, 8\]"):
        composed(case, torch.ones(3, 6, 8))
