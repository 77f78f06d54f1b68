"""The equations one by one."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from loratorio_ext.method import (
    RowMap,
    aggregate,
    amplify,
    by_ratio,
    divergence,
    mean_over_subprompts,
    recentre,
    relative,
    select_top_k,
    softmin,
    to_patches,
    upsample,
)

quick = settings(max_examples=40, deadline=None)
sides = st.integers(1, 9)


@quick
@given(channels=sides, height=sides, width=sides, d=st.integers(1, 12))
def test_patches_hold_every_pixel_once(channels: int, height: int, width: int, d: int) -> None:
    latent = torch.arange(1.0, 1 + channels * height * width).reshape(channels, height, width)
    patches = to_patches(latent, d)
    assert patches.shape[:2] == (math.ceil(height / d), math.ceil(width / d))
    for y, x in ((0, 0), (height - 1, width - 1)):
        wanted = latent[:, y // d * d : y // d * d + d, x // d * d : x // d * d + d]
        held = patches[y // d, x // d]
        assert torch.equal(held[held != 0].sort().values, wanted.flatten().sort().values)
    assert torch.equal(patches[patches != 0].sort().values, latent.flatten())


@quick
@given(height=sides, width=sides, d=st.integers(1, 12))
def test_upsample_gives_each_pixel_its_patch(height: int, width: int, d: int) -> None:
    weights = torch.rand(2, math.ceil(height / d), math.ceil(width / d))
    up = upsample(weights, d, (height, width))
    assert up.shape == (2, height, width)
    assert all(
        torch.equal(up[:, y, x], weights[:, y // d, x // d]) for y in range(height) for x in range(width)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("t", [1e-1, 1e-2, 1e-3, 1e-4, 1e-6])
def test_small_divergences_keep_their_digits(dtype: torch.dtype, t: float) -> None:
    """1 - cos of (1, 0) and (1, t), known without cancellation: -expm1(-log1p(t²) / 2)."""
    t = float(torch.tensor(t, dtype=dtype))
    a, b = torch.tensor([1.0, t], dtype=dtype), torch.tensor([1.0, 0.0], dtype=dtype)
    expected = -math.expm1(-math.log1p(t * t) / 2)
    assert float(divergence(a, b)) == pytest.approx(expected, rel=4 * torch.finfo(dtype).eps / t)


def similarity(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """s of the method, which the engine only knows as its distance from 1."""
    return 1.0 - divergence(a, b)


@quick
@given(data=st.data(), length=st.integers(1, 20))
def test_similarity_is_the_cosine(data: st.DataObject, length: int) -> None:
    numbers = st.lists(st.floats(-1e3, 1e3), min_size=length, max_size=length)
    a = torch.tensor(data.draw(numbers), dtype=torch.float64)
    b = torch.tensor(data.draw(numbers), dtype=torch.float64)
    s = float(similarity(a, b))
    assert -1 <= s <= 1
    assert s == float(similarity(b, a))
    assert float(similarity(a, a)) == 1
    if a.abs().max() > 1e-3 and b.abs().max() > 1e-3:
        assert s == pytest.approx(float(torch.nn.functional.cosine_similarity(a, b, dim=0)), abs=1e-12)
        assert float(similarity(-a, b)) == pytest.approx(-s, abs=1e-12)


def test_similarity_without_a_direction() -> None:
    zero, one = torch.zeros(3), torch.tensor([0.0, 1e-45, 0.0])
    assert similarity(zero, zero) == 1 and similarity(zero, one) == 0 and similarity(one, zero) == 0
    assert similarity(one, one) == 1
    for bad in (math.nan, math.inf, -math.inf):
        broken = torch.tensor([1.0, bad, 0.0])
        assert (
            similarity(broken, one) == 0 and similarity(one, broken) == 0 and similarity(broken, broken) == 0
        )


@quick
@given(
    s=st.lists(st.floats(-1, 1), min_size=1, max_size=8),
    temperature=st.floats(1e-4, 1e3),
    shift=st.floats(-1, 1),
)
def test_softmin(s: list[float], temperature: float, shift: float) -> None:
    values = torch.tensor(s, dtype=torch.float64)
    weights = softmin(values, temperature)
    torch.testing.assert_close(weights, torch.softmax(-values / temperature, dim=0), rtol=1e-9, atol=1e-12)
    assert float(weights.sum()) == pytest.approx(1)
    order = values.argsort()
    assert (weights[order].diff() <= 0).all()
    shifted = softmin(values + shift, temperature)
    torch.testing.assert_close(shifted, weights, rtol=0, atol=4e-16 / temperature + 1e-12)


def test_softmin_over_the_selected_alone() -> None:
    s = torch.tensor([[0.1, 0.5], [-1.0, 0.2], [0.3, 0.9]])
    selected = torch.tensor([[True, False], [False, False], [True, False]])
    weights = softmin(s, 0.05, selected)
    torch.testing.assert_close(weights[[0, 2], 0], softmin(s[[0, 2], 0], 0.05))
    assert weights[1, 0] == 0 and (weights[:, 1] == 0).all()


@quick
@given(
    d=st.lists(st.floats(1e-12, 2), min_size=1, max_size=8),
    temperature=st.floats(1e-3, 1e3),
    factor=st.floats(1e-6, 1e6),
)
def test_by_ratio(d: list[float], temperature: float, factor: float) -> None:
    values = torch.tensor(d, dtype=torch.float64)
    weights = by_ratio(values, temperature)
    torch.testing.assert_close(weights, softmin(-values.log(), temperature), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(by_ratio(values * factor, temperature), weights, rtol=1e-9, atol=1e-9)
    assert float(weights.sum()) == pytest.approx(1)
    if temperature == 1:
        torch.testing.assert_close(weights, values / values.sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("temperature", [5e-324, 1e-300, 1e300])
def test_weights_at_both_ends_of_temperature(dtype: torch.dtype, temperature: float) -> None:
    weights = softmin(torch.tensor([0.5, 0.5, 1.0, -1.0], dtype=dtype), temperature)
    assert weights.tolist() == ([0.0, 0.0, 0.0, 1.0] if temperature < 1 else [0.25] * 4)
    weights = by_ratio(torch.tensor([0.5, 1.0, 0.25, 0.0], dtype=dtype), temperature)
    assert weights.tolist() == pytest.approx([0, 1, 0, 0] if temperature < 1 else [1 / 3, 1 / 3, 1 / 3, 0])


@quick
@given(factor=st.floats(1e-6, 1e3), seed=st.integers(0, 1000))
def test_relative_has_a_mean_of_1_and_forgets_how_loud_a_network_is(factor: float, seed: int) -> None:
    d = torch.rand(3, 2, 4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    d[1] = 0
    got = relative(d)
    torch.testing.assert_close(got[[0, 2]].mean((-2, -1)), torch.ones(2, 2, dtype=torch.float64))
    assert (got[1] == 0).all()
    louder = torch.cat([d[:2], factor * d[2:]])
    torch.testing.assert_close(relative(louder), got)


def test_by_ratio_where_nothing_diverges_and_over_the_selected_alone() -> None:
    assert by_ratio(torch.zeros(4), 0.5).tolist() == [0.25] * 4
    d = torch.tensor([[0.1, 0.5], [1.0, 0.2], [0.3, 0.0]])
    selected = torch.tensor([[True, False], [False, False], [True, False]])
    weights = by_ratio(d, 1.0, selected)
    torch.testing.assert_close(weights[:, 0], torch.tensor([0.25, 0.0, 0.75]))
    assert (weights[:, 1] == 0).all()
    assert by_ratio(torch.zeros(2, 1), 1.0, torch.tensor([[True], [False]])).tolist() == [[1.0], [0.0]]


def test_amplify_is_exact_at_0_and_where_both_agree() -> None:
    base, networks, counts = torch.randn(3, 2, 1, 1), torch.randn(3, 2, 1, 1), torch.tensor([1.0, 4.0, 0.0])
    assert torch.equal(amplify(torch.full_like(base, math.nan), networks, counts, 0.0), networks)
    assert torch.equal(amplify(base, base, counts, 1.0), base)
    factors = torch.tensor([1.0, 2.0, 1.0])[:, None, None, None]
    torch.testing.assert_close(amplify(base, networks, counts, 0.5), base + factors * (networks - base))


def test_top_k_keeps_the_lowest_similarities_among_the_usable() -> None:
    s = torch.tensor([0.9, 0.1, 0.5, 0.1]).reshape(4, 1, 1, 1)
    everyone = torch.ones(4, 1, dtype=torch.bool)

    def kept(k: int, usable: torch.Tensor = everyone) -> list[bool]:
        return select_top_k(s, k, "image", usable).flatten().tolist()

    assert kept(0) == kept(4) == kept(9) == [True] * 4
    assert kept(1) == [False, True, False, False]  # of equal ones the first
    assert kept(2) == [False, True, False, True]
    assert kept(2, torch.tensor([[True], [False], [True], [False]])) == [True, False, True, False]
    assert kept(3, torch.tensor([[False], [False], [True], [False]])) == [False, False, True, False]


def test_top_k_per_image_goes_by_the_mean_and_per_patch_by_the_place() -> None:
    s = torch.tensor([[0.0, 0.9], [0.3, 0.3]]).reshape(2, 1, 1, 2)
    usable = torch.ones(2, 1, dtype=torch.bool)
    assert select_top_k(s, 1, "image", usable)[:, 0, 0].tolist() == [[False, False], [True, True]]
    assert select_top_k(s, 1, "patch", usable)[:, 0, 0].tolist() == [[True, False], [False, True]]


def test_aggregate_ignores_what_has_no_weight() -> None:
    predictions = torch.tensor([1.0, math.nan, 3.0]).reshape(3, 1, 1, 1, 1).expand(3, 1, 1, 1, 2)
    weights = torch.tensor([[0.25, 0.0], [0.0, 0.0], [0.75, 0.0]]).reshape(3, 1, 1, 2)
    got = aggregate(predictions, weights, torch.full((1, 1, 1, 2), 7.0))
    assert got.flatten().tolist() == [2.5, 7.0]


def test_recentre_is_exact_at_its_ends_and_where_both_agree() -> None:
    base, networks = torch.randn(2, 3), torch.randn(2, 3)
    assert torch.equal(recentre(base, networks, 0.0), networks)
    assert torch.equal(recentre(torch.full((2, 3), math.nan), networks, 0.0), networks)
    assert torch.equal(recentre(base, networks, 1.0), base)
    assert torch.equal(recentre(base, base, 0.3), base)
    torch.testing.assert_close(recentre(base, networks, 0.3), 0.3 * base + 0.7 * networks)


def test_mean_over_subprompts_sums_to_one() -> None:
    weights = softmin(torch.randn(4, 3, 2, 2), 0.5)
    mean = mean_over_subprompts(weights, RowMap((1, 0, 1), (1.0, 0.3, -3.0)))
    torch.testing.assert_close(mean.sum(0), torch.ones(2, 2, 2))
    assert torch.equal(mean[:, 0], weights[:, 1])
    torch.testing.assert_close(mean[:, 1], 0.25 * weights[:, 0] + 0.75 * weights[:, 2])
