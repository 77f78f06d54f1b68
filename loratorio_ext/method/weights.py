"""Steps 2 to 4: patches Φ, similarity s, dynamic selection (top k), and the weights Ω̂ in two forms."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

TopKScope = Literal["image", "patch"]
Weighting = Literal["difference", "relative"]


def to_patches(prediction: Tensor, patch_size: int) -> Tensor:
    """Cut into non-overlapping patches Φ of d × d latent pixels, all channels together.

    Where d does not divide H or W, zeros are added at the right and the bottom: they change neither a dot
    product nor a norm, so an edge patch simply holds fewer pixels. A side shorter than d is one patch.

    Args:
        prediction: [..., C, H, W].
        patch_size: d in latent pixels, at least 1.

    Returns:
        [..., h, w, C·p·q] with h = ceil(H / d), w = ceil(W / d), p = min(d, H) and q = min(d, W).

    Source: section "One denoising step" of the method, step 2.
    """
    height, width = prediction.shape[-2:]
    p, q = min(patch_size, height), min(patch_size, width)
    padded = F.pad(prediction, (0, -width % q, 0, -height % p))
    return rearrange(padded, "... c (h p) (w q) -> ... h w (c p q)", p=p, q=q)


def divergence(patches: Tensor, base_patches: Tensor) -> Tensor:
    """1 − s for the similarity s = cos(Φ_θi, Φ_θ); unlike s, it keeps the digits that matter.

    Cosines lie close to 1 and SoftMin divides their differences by a small τ. A dot product in float32
    rounds them to steps of 6e-8; the squared distance of the two unit vectors, |a − b|² = 2 − 2 cos, has no
    large numbers to cancel and keeps nearly all digits of a small divergence.

    Args:
        patches: [..., D], float32 or float64.
        base_patches: [..., D], broadcasts against ``patches``.

    Returns:
        [...], in [0, 2]. 0 where both norms are zero, 1 where one is, and 1 where either holds values that
        are not finite: such patches have no direction to compare. Never NaN.

    Source: section "One denoising step" of the method, step 3.
    """
    a, b = _unit(patches), _unit(base_patches)
    distance: Tensor = torch.linalg.vector_norm(a - b, dim=-1)
    one_is_zero = a.any(dim=-1) != b.any(dim=-1)
    without_direction = one_is_zero | distance.isnan()
    return (distance.square() / 2).clamp(max=2.0).masked_fill(without_direction, 1.0)


def _unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1; zero stays zero."""
    # Brought to a largest element of 1 first: the squares of 1e30 and 1e-30 do not exist in float32.
    largest = vectors.abs().amax(dim=-1, keepdim=True)
    scaled = vectors / largest.masked_fill(largest == 0, 1.0)
    norm: Tensor = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
    return scaled / norm.masked_fill(norm == 0, 1.0)


def select_top_k(similarity: Tensor, top_k: int, scope: TopKScope, usable: Tensor) -> Tensor:
    """Dynamic selection: the k networks that diverge most (lowest s) among the usable ones.

    Where s is exactly equal the earlier network is kept, so never more than k stay. Equal predictions have
    equal s, and which of them stays does not show in the picture; the order of the networks matters only for
    different predictions with exactly the same s (where the base is zero, for example).

    Args:
        similarity: s, [N, R, h, w]; any constant may have been added to it.
        top_k: k; 0, or N and more: no selection.
        scope: "image": one choice for each row, by the mean of s over its patches; "patch": at every patch.
        usable: bool, [N, R] or [N, R, h, w]; False: takes no part.

    Returns:
        bool, [N, R, h, w].

    Source: section "One denoising step" of the method, "Dynamic selection".
    """
    usable = (usable[:, :, None, None] if usable.dim() == 2 else usable).expand(similarity.shape)
    if top_k == 0 or top_k >= similarity.shape[0]:
        return usable
    candidates = usable
    if scope == "image":
        similarity = similarity.mean(dim=(-2, -1), keepdim=True)
        candidates = usable.flatten(2).any(dim=2)[:, :, None, None]
    ranked = similarity.masked_fill(~candidates, torch.inf).argsort(dim=0, stable=True)
    rank = ranked.argsort(dim=0)
    return usable & (rank < top_k)


def softmin(similarity: Tensor, temperature: float, selected: Tensor | None = None) -> Tensor:
    """Ω̂_i = exp(−s_i / τ) / Σ_j exp(−s_j / τ), over the selected networks j; the others get exactly 0.

    Args:
        similarity: s, [N, ...], float32 or float64. Adding a constant to all of s changes nothing.
        temperature: τ > 0. Small: the most divergent network alone; large: the plain average.
        selected: bool, like ``similarity``; None: all.

    Returns:
        Like ``similarity``, in [0, 1]. Sums to 1 over the networks, or is all 0 where none is selected.

    Source: section "One denoising step" of the method, step 4.
    """
    if selected is None:
        selected = torch.ones_like(similarity, dtype=torch.bool)
    tau = _representable(temperature, similarity.dtype)
    # Counted from the lowest s, no exponent is positive and the largest term is 1: the sum is at least 1.
    lowest = similarity.masked_fill(~selected, torch.inf).amin(dim=0)
    terms = torch.exp(-(similarity - lowest) / tau).masked_fill(~selected, 0.0)
    return terms / terms.sum(dim=0).clamp(min=1.0)


def relative(divergence: Tensor, floor: float = 0.0) -> Tensor:
    """Divergence at each patch as a multiple of the network's own mean over the row.

    Similarities lie within thousandths of each other at high noise and far apart at low noise, differently
    for every model and every network: one that was trained hard diverges more than the others everywhere, and
    drowns them out. Relative to its own mean, each network gets weight where it diverges more than elsewhere,
    and a temperature means the same at every step and for every model.

    Not in the paper.

    Args:
        divergence: 1 − s, [N, R, h, w], at least 0, float32 or float64.
        floor: divergence that rounding alone causes, at least 0. It is added to the mean, so that the
            rounding noise of an inactive network gets no weight.

    Returns:
        [N, R, h, w], with mean 1 over the patches, less as the mean comes near ``floor``; all 0 where a
        network does not diverge at all.
    """
    mean = divergence.mean(dim=(-2, -1), keepdim=True) + floor
    return divergence / mean.masked_fill(mean == 0, 1.0)


def by_ratio(divergence: Tensor, temperature: float, selected: Tensor | None = None) -> Tensor:
    """Ω̂_i = (1 − s_i)^(1/τ) / Σ_j (1 − s_j)^(1/τ), over the selected networks j; the others get exactly 0.

    This is the SoftMin with −log(1 − s) in place of s: it asks how many times more one network diverges than
    another, not by how much, so a factor common to all divergences cancels out. With τ = 1 a weight is a
    share of all divergence.

    Not in the paper.

    Args:
        divergence: 1 − s, or a multiple of it; [N, ...], at least 0, float32 or float64.
        temperature: τ > 0. Small: the most divergent network alone; large: the plain average.
        selected: bool, like ``divergence``; None: all.

    Returns:
        Like ``divergence``, in [0, 1]. Sums to 1 over the networks, or is all 0 where none is selected.
        Equal weights where no selected network diverges.
    """
    if selected is None:
        selected = torch.ones_like(divergence, dtype=torch.bool)
    exponent = 1.0 / _representable(temperature, divergence.dtype)
    # As fractions of the largest, no term is above 1 and the largest is 1: the sum is at least 1.
    largest = divergence.masked_fill(~selected, 0.0).amax(dim=0)
    parts = torch.where(largest == 0, 1.0, divergence / largest.masked_fill(largest == 0, 1.0))
    terms = parts.masked_fill(~selected, 0.0).pow(exponent).masked_fill(~selected, 0.0)
    return terms / terms.sum(dim=0).clamp(min=1.0)


def within(weights: Tensor, places: Tensor, selected: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of networks that may speak at some places only: Ω̂_i ← min(1, Σ_j m_j) · m_i Ω̂_i / Σ_j m_j Ω̂_j.

    Where the places of all networks together leave something over, the weights sum to less than 1, and the
    rest is the base's. Places that are 1 everywhere change nothing.

    Not in the paper.

    Args:
        weights: Ω̂, [N, R, h, w].
        places: m in [0, 1], how far each patch belongs to a network's places, [N, R, h, w].
        selected: bool, [N, R, h, w], the networks that share a patch.

    Returns:
        (weights, how many networks share each patch: Σ_j m_j of the selected, [R, h, w]).
    """
    shared = places.masked_fill(~selected, 0.0).sum(dim=0)
    placed = weights * places
    total = placed.sum(dim=0)
    scale = shared.clamp(max=1.0) / total.masked_fill(total == 0, 1.0)
    return placed * scale, shared


def patch_means(places: Tensor, patch_size: int) -> Tensor:
    """[N, R, H, W] → [N, R, h, w], the mean of every patch; an edge patch counts the pixels that it has."""
    height, width = places.shape[-2:]
    size = min(patch_size, height), min(patch_size, width)
    means: Tensor = F.avg_pool2d(places, size, ceil_mode=True)
    return means


def _representable(temperature: float, dtype: torch.dtype) -> float:
    """τ clamped to the dtype's range, which both extremes lie well inside: as a float32 the smallest is 0."""
    finfo = torch.finfo(dtype)
    return min(max(temperature, finfo.tiny), 1.0 / finfo.tiny)
