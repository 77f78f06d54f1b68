"""Clustered errors against what they must be in cases that can be worked out, and against a simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from loratorio_ext.evaluate.statistics import estimate

VALUES = st.lists(st.floats(-10, 10), min_size=2, max_size=30)


@settings(max_examples=50, deadline=None)
@given(VALUES)
def test_every_picture_its_own_cluster_is_the_plain_standard_error(values: list[float]) -> None:
    got = estimate(values, range(len(values)))
    assert got.mean == pytest.approx(np.mean(values), abs=1e-12)
    assert got.error == pytest.approx(np.std(values, ddof=1) / len(values) ** 0.5, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(VALUES, st.integers(2, 5))
def test_copies_of_a_picture_tell_nothing_new(values: list[float], copies: int) -> None:
    once = estimate(values, range(len(values)))
    several = estimate(np.repeat(values, copies), np.repeat(range(len(values)), copies).tolist())
    assert several.error == pytest.approx(once.error, abs=1e-9)
    assert (several.pictures, several.clusters) == (copies * len(values), len(values))


def test_it_is_the_spread_of_means_of_clustered_pictures() -> None:
    random = np.random.default_rng(0)
    clusters = np.repeat(range(30), 8).tolist()

    def draw() -> np.ndarray:
        return np.repeat(random.normal(size=30), 8) + random.normal(size=240)

    errors = [estimate(draw(), clusters).error or 0.0 for _ in range(300)]
    spread = np.std([draw().mean() for _ in range(2000)])
    assert np.mean(errors) == pytest.approx(spread, rel=0.1)


def test_one_cluster_has_no_error_to_tell() -> None:
    assert estimate([0.0, 1.0], ["a", "a"]).error is None


@pytest.mark.parametrize(("values", "clusters"), [([], []), ([1.0], ["a", "b"])])
def test_what_cannot_be(values: list[float], clusters: list[str]) -> None:
    with pytest.raises(ValueError, match="give one cluster a value"):
        estimate(values, clusters)
