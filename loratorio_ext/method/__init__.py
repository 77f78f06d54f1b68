"""The paper: patches, similarity, SoftMin weights, dynamic selection, aggregation, re-centring.

`compose` does one step; the pieces are exported for those who want one equation alone.
Source: N. Foteinopoulou, I. Budvytis, S. Liwicki, "LoRAtorio: An intrinsic approach to LoRA Skill
Composition", arXiv 2508.11624 (2025).
"""

from __future__ import annotations

from loratorio_ext.method.aggregation import (
    Aggregation,
    aggregate,
    amplify,
    mean_over_subprompts,
    recentre,
    upsample,
)
from loratorio_ext.method.compose import Composition, compose, upcast
from loratorio_ext.method.rows import RowMap
from loratorio_ext.method.weights import (
    TopKScope,
    Weighting,
    by_ratio,
    divergence,
    relative,
    select_top_k,
    softmin,
    to_patches,
)

__all__ = [
    "Aggregation",
    "Composition",
    "RowMap",
    "TopKScope",
    "Weighting",
    "aggregate",
    "amplify",
    "by_ratio",
    "compose",
    "divergence",
    "mean_over_subprompts",
    "recentre",
    "relative",
    "select_top_k",
    "softmin",
    "to_patches",
    "upcast",
    "upsample",
]
