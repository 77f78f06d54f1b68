"""Means with standard errors that know which pictures belong together."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Estimate:
    """A mean over pictures.

    Attributes:
        mean: of all pictures.
        error: its standard error, clustered; None where there are fewer than two clusters.
        pictures: how many.
        clusters: how many groups of pictures that belong together.
    """

    mean: float
    error: float | None
    pictures: int
    clusters: int


def estimate(values: Sequence[float] | npt.NDArray[np.float64], clusters: Sequence[Hashable]) -> Estimate:
    """Mean and clustered standard error.

    Pictures of one combination of networks succeed or fail together, so they count as less than as many
    independent ones: the errors of a cluster are added up before they are squared (Liang and Zeger,
    "Longitudinal data analysis using generalized linear models", Biometrika 73, 1986), with the usual factor
    G / (G − 1) for G clusters.

    Args:
        values: one number for each picture; for a paired difference, the difference of each pair.
        clusters: the cluster of each picture.

    Raises:
        ValueError: no values, or not one cluster for each.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) == 0 or len(numbers) != len(clusters):
        raise ValueError(f"{len(numbers)} values with {len(clusters)} clusters; give one cluster a value")
    mean = float(numbers.mean())
    sums: dict[Hashable, float] = {}
    for cluster, residual in zip(clusters, numbers - mean, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + float(residual)
    groups = len(sums)
    if groups < 2:
        return Estimate(mean, None, len(numbers), groups)
    variance = groups / (groups - 1) * sum(value * value for value in sums.values())
    return Estimate(mean, float(np.sqrt(variance)) / len(numbers), len(numbers), groups)
