"""Steps 2 and 3: predictions cut into patches Φ, and how far a network's point away from the base's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


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
