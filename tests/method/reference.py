"""The method in plain NumPy float64: loops over networks, rows and patches, no torch.

Written from the description of the method, not from the code under test, and on purpose as dull as can be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Composed:
    cond: Array
    uncond: Array | None
    similarity: Array
    divergence: Array
    weights: Array
    finite: npt.NDArray[np.bool_]


def patch(prediction: Array, row: int, column: int, d: int) -> list[float]:
    """Φ of one patch of [C, H, W]; pixels outside the latent are zeros."""
    channels, height, width = prediction.shape
    values = []
    for c in range(channels):
        for y in range(row * d, row * d + d):
            for x in range(column * d, column * d + d):
                inside = y < height and x < width
                values.append(float(prediction[c, y, x]) if inside else 0.0)
    return values


def similarity(a: list[float], b: list[float]) -> float:
    """cos of two patches; 1 if both are zero, 0 if one is or a value is not finite."""
    if not all(map(math.isfinite, a + b)):
        return 0.0
    largest_a, largest_b = max(map(abs, a)), max(map(abs, b))
    if largest_a == 0 or largest_b == 0:
        return 1.0 if largest_a == largest_b else 0.0
    a, b = [v / largest_a for v in a], [v / largest_b for v in b]
    dot = math.fsum(v * w for v, w in zip(a, b, strict=True))
    return dot / math.sqrt(math.fsum(v * v for v in a)) / math.sqrt(math.fsum(v * v for v in b))


def divergence(a: list[float], b: list[float]) -> float:
    """1 - cos as half the squared distance of the unit vectors, which keeps the digits of a small one."""
    if not all(map(math.isfinite, a + b)):
        return 1.0
    largest_a, largest_b = max(map(abs, a)), max(map(abs, b))
    if largest_a == 0 or largest_b == 0:
        return 0.0 if largest_a == largest_b else 1.0
    a, b = [v / largest_a for v in a], [v / largest_b for v in b]
    norm_a, norm_b = (math.sqrt(math.fsum(v * v for v in x)) for x in (a, b))
    return math.fsum((v / norm_a - w / norm_b) ** 2 for v, w in zip(a, b, strict=True)) / 2


def lowest(values: dict[int, float], k: int) -> set[int]:
    """The k keys with the lowest values, of equal ones the first; k = 0: all."""
    ordered = sorted(values, key=lambda i: (values[i], i))
    return set(ordered if k == 0 else ordered[:k])


def softmin(values: dict[int, float], temperature: float) -> dict[int, float]:
    """exp(-s_i / τ) / Σ_j exp(-s_j / τ); counted from the lowest s, or a small τ overflows."""
    if not values:
        return {}
    first = min(values.values())
    terms = {i: math.exp(-(s - first) / temperature) for i, s in values.items()}
    total = math.fsum(terms.values())
    return {i: term / total for i, term in terms.items()}


def shares(values: dict[int, float], temperature: float) -> dict[int, float]:
    """d_i^(1/τ) / Σ_j d_j^(1/τ); of the parts of the largest d, or a small τ underflows everywhere."""
    if not values:
        return {}
    largest = max(values.values())
    terms = {i: (d / largest) ** (1 / temperature) if largest else 1.0 for i, d in values.items()}
    total = math.fsum(terms.values())
    return {i: term / total for i, term in terms.items()}


def amplified(base: Array, networks: Array, count: int, gain: float) -> Array:
    """e_θ + N^g (ẽ − e_θ)."""
    return networks if gain == 0 else base + max(count, 1) ** gain * (networks - base)


def mix(base: Array, networks: Array, weights: Array, d: int) -> Array:
    """Σ_i Ω̂_i^up ⊙ e_θi of one row: base [C, H, W], networks [N, C, H, W], weights [N, h, w]."""
    out = np.empty_like(base)
    for c, y, x in np.ndindex(base.shape):
        here = [(weights[i, y // d, x // d], networks[i, c, y, x]) for i in range(len(networks))]
        spoken = [float(w * e) for w, e in here if w > 0]
        out[c, y, x] = math.fsum(spoken) if spoken else base[c, y, x]
    return out


def compose(
    base_cond: Array,
    network_conds: Array,
    base_uncond: Array | None = None,
    network_unconds: Array | None = None,
    *,
    patch_size: int,
    temperature: float,
    top_k: int,
    top_k_scope: str,
    recenter: float,
    weighting: str = "difference",
    gain: float = 0.0,
    floor: float = 0.0,
    active: Any = None,
    compare_as: Any = None,
    subprompts: tuple[tuple[int, ...], tuple[float, ...]] | None = None,
) -> Composed:
    networks, rows, _, height, width = network_conds.shape
    h, w = -(-height // patch_size), -(-width // patch_size)
    owners = tuple(range(rows)) if subprompts is None else subprompts[0]
    ands = (1.0,) * rows if subprompts is None else subprompts[1]
    compared_base = base_cond if compare_as is None else compare_as(base_cond)
    compared = network_conds if compare_as is None else compare_as(network_conds)

    s_all = np.ones((networks, rows, h, w))
    d_all = np.zeros((networks, rows, h, w))
    weights = np.zeros((networks, rows, h, w))
    finite = np.ones((networks, rows), dtype=np.bool_)
    cond = np.empty_like(base_cond)
    counts = [0] * rows
    for r in range(rows):
        usable = []
        for i in range(networks):
            if active is not None and not (active[i] if np.ndim(active) == 1 else active[i][r]):
                continue
            held = [network_conds[i, r], compared[i, r]]
            if network_unconds is not None and base_uncond is not None and recenter < 1:
                held.append(network_unconds[i, owners[r]])
            finite[i, r] = all(np.isfinite(values).all() for values in held)
            if finite[i, r]:
                usable.append(i)
        for i in usable:
            for y, x in np.ndindex(h, w):
                one = patch(compared[i, r], y, x, patch_size)
                other = patch(compared_base[r], y, x, patch_size)
                s_all[i, r, y, x] = similarity(one, other)
                d_all[i, r, y, x] = divergence(one, other)
        means = {i: math.fsum(d_all[i, r].flat) / (h * w) or 1.0 for i in usable}
        per_image = lowest({i: math.fsum(s_all[i, r].flat) / (h * w) for i in usable}, top_k)
        for y, x in np.ndindex(h, w):
            s = {i: float(s_all[i, r, y, x]) for i in usable}
            kept = per_image if top_k_scope == "image" else lowest(s, top_k)
            if weighting == "relative":
                found = shares({i: float(d_all[i, r, y, x]) / (means[i] + floor) for i in kept}, temperature)
            else:
                found = softmin({i: s[i] for i in kept}, temperature)
            for i, weight in found.items():
                weights[i, r, y, x] = weight
        cond[r] = mix(base_cond[r], network_conds[:, r], weights[:, r], patch_size)
        counts[r] = min(len(usable), top_k or networks)
        cond[r] = amplified(base_cond[r], cond[r], counts[r], gain)

    uncond = None
    if base_uncond is not None:
        uncond = np.empty_like(base_uncond)
        for b in range(len(base_uncond)):
            if network_unconds is None or recenter == 1:
                uncond[b] = base_uncond[b]
                continue
            mine = [r for r in range(rows) if owners[r] == b]
            parts = {r: abs(ands[r]) for r in mine}
            if not any(parts.values()):
                parts = dict.fromkeys(mine, 1.0)
            parts = {r: share for r, share in parts.items() if weights[:, r].any()}
            total = math.fsum(parts.values())
            shared = np.zeros((networks, h, w))
            for r, share in parts.items():
                if total > 0:
                    shared += weights[:, r] * (share / total)
            mixed = mix(base_uncond[b], network_unconds[:, b], shared, patch_size)
            mixed = amplified(base_uncond[b], mixed, max(counts[r] for r in mine), gain)
            uncond[b] = mixed if recenter == 0 else recenter * base_uncond[b] + (1 - recenter) * mixed
    return Composed(cond, uncond, s_all, d_all, weights, finite)
