"""Step 2: predictions cut into patches Φ; step 5: one value per patch laid back over its pixels."""

from __future__ import annotations

import torch.nn.functional as F
from einops import rearrange, repeat
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


def upsample(weights: Tensor, patch_size: int, size: tuple[int, int]) -> Tensor:
    """Ω̂ → Ω̂^up: give every pixel the weight of its patch (nearest), and cut off the padding.

    Args:
        weights: [..., h, w], one value per patch.
        patch_size: d in latent pixels, at least 1.
        size: H and W of the latent.

    Returns:
        [..., H, W].

    Source: section "One denoising step" of the method, step 5.
    """
    height, width = size
    p, q = min(patch_size, height), min(patch_size, width)
    return repeat(weights, "... h w -> ... (h p) (w q)", p=p, q=q)[..., :height, :width]
