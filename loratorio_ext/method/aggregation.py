"""Steps 5 to 7: scores weighted, added and amplified; the unconditional pulled back towards the base.

Sums are written as products and sums, not as matrix products, for which hosts turn TF32 on.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from einops import repeat
from torch import Tensor

from loratorio_ext.method.rows import RowMap

ALL_ROWS = slice(None)


@dataclass(frozen=True, eq=False)
class Aggregation:
    """Steps 5 to 7 with the weights of one step.

    It can be used for further predictions at the same place in the latent: a model that is called again with
    something perturbed answers with the same weights, so only the perturbation makes a difference.

    Attributes:
        weights: Ω̂, [N, R, h, w], float32 or float64.
        counts: how many networks can have weight in each conditional row, [R], dtype of ``weights``; at each
            patch of it, [R, h, w], where networks have places of their own. Weights that sum to less than 1
            there leave the rest to the base.
        patch_size: d, in latent pixels.
        gain: g in [0, 1], see `amplify`.
        recenter: λ in [0, 1], see `recentre`.
        rows: the image and the AND weight of each conditional row.
    """

    weights: Tensor = field(repr=False)
    counts: Tensor = field(repr=False)
    patch_size: int
    gain: float
    recenter: float
    rows: RowMap

    def cond(self, base: Tensor, networks: Tensor, rows: slice = ALL_ROWS) -> Tensor:
        """ẽ(z, c) of some conditional rows, all by default.

        Args:
            base: e_θ(z, c), [rows, C, H, W], float32 or float64.
            networks: e_θi(z, c), [N, rows, C, H, W].
            rows: which conditional rows they are.

        Returns:
            [rows, C, H, W], a new tensor.
        """
        return self._mixed(base, networks, self.weights[:, rows], self.counts[rows])

    def uncond(self, base: Tensor, networks: Tensor | None) -> Tensor:
        """ẽ(z), with the weights of the conditional rows of each image.

        Args:
            base: e_θ(z), [B, C, H, W], float32 or float64.
            networks: e_θi(z), [N, B, C, H, W]; not used with λ = 1. None: the base's prediction is taken.

        Returns:
            [B, C, H, W], a new tensor.
        """
        if networks is None or self.recenter == 1:
            return base.clone()
        weights, counts = self.weights, self.counts
        if not self.rows.is_one_each:
            weights = mean_over_subprompts(weights, self.rows)
            counts = _largest_of_images(counts, self.rows)
        return recentre(base, self._mixed(base, networks, weights, counts), self.recenter)

    def _mixed(self, base: Tensor, networks: Tensor, weights: Tensor, counts: Tensor) -> Tensor:
        size = base.shape[-2], base.shape[-1]
        has_places = counts.dim() == 3
        mixed = aggregate(networks, upsample(weights, self.patch_size, size), base, rest=has_places)
        if has_places:
            counts = upsample(counts, self.patch_size, size)
        return amplify(base, mixed, counts, self.gain)


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


def aggregate(predictions: Tensor, weights: Tensor, base: Tensor, *, rest: bool = False) -> Tensor:
    """ẽ = Σ_i Ω̂_i^up ⊙ e_θi; where no network has a weight, the base's prediction.

    A network adds nothing where its weight is 0, not even its NaN or infinity.

    Args:
        predictions: e_θi, [N, B, C, H, W], float32 or float64.
        weights: Ω̂^up, [N, B, H, W].
        base: e_θ, [B, C, H, W].
        rest: weights may sum to less than 1, and the base has the rest.

    Returns:
        [B, C, H, W], a new tensor.

    Source: section "One denoising step" of the method, step 6.
    """
    weights = weights.unsqueeze(2)
    silent = weights == 0
    total = (weights * predictions).masked_fill(silent, 0.0).sum(dim=0)
    if rest:
        total = total + (1 - weights.sum(dim=0)).clamp(min=0.0) * base
    return torch.where(silent.all(dim=0), base, total)


def amplify(base: Tensor, networks: Tensor, counts: Tensor, gain: float) -> Tensor:
    """e_θ + γ (ẽ − e_θ) with γ = N^g: what the networks add, made stronger the more of them share a row.

    A weighted mean of N networks dilutes each of them to its weight. g = 0 leaves it so, as in the paper;
    with g = 1 and equal weights everything that the networks add is summed, as merging does.

    Args:
        base: e_θ, [B, C, H, W].
        networks: the networks' aggregated score ẽ, [B, C, H, W].
        counts: N, how many networks share each row, [B], or each pixel, [B, H, W]; float32 or float64.
        gain: g in [0, 1]. 0: ``networks``, bit for bit.

    Returns:
        [B, C, H, W].
    """
    if gain == 0.0:  # also where the base is not finite
        return networks
    gamma = counts.clamp(min=1.0).pow(gain)
    gamma = gamma[:, None] if gamma.dim() == 3 else gamma[:, None, None, None]
    return base + gamma * (networks - base)


def recentre(base: Tensor, networks: Tensor, recenter: float) -> Tensor:
    """Re-centred unconditional score λ e_θ + (1 − λ) Σ_i Ω̂_i^up ⊙ e_θi.

    Args:
        base: e_θ without condition, [B, C, H, W].
        networks: the networks' aggregated score without condition, [B, C, H, W].
        recenter: λ in [0, 1]. 0: the networks' score, 1: the base's, both bit for bit.

    Returns:
        [B, C, H, W].

    Source: section "One denoising step" of the method, step 7.
    """
    if recenter == 0.0:  # 0 times a base that is not finite would be NaN
        return networks
    return torch.lerp(networks, base, recenter)


def mean_over_subprompts(weights: Tensor, rows: RowMap) -> Tensor:
    """Weights for each image's unconditional: the mean of its rows' Ω̂, weighted by |AND weight|.

    Rows without any usable network (weights all 0) do not count; if an image has no other, its weights
    are all 0 too.

    Args:
        weights: Ω̂ of the conditional rows, [N, R, h, w].
        rows: which row belongs to which image, and its AND weight.

    Returns:
        [N, B, h, w].

    Source: "Choices the public text leaves open" of the method, several AND sub-prompts per image.
    """
    used = (weights > 0).any(dim=0).to(weights.dtype)  # a bool times a number would be float32
    means = []
    for shares in rows.shares:
        total = torch.stack([share * weights[:, row] for row, share in shares.items()]).sum(dim=0)
        counted = torch.stack([share * used[row] for row, share in shares.items()]).sum(dim=0)
        means.append((total / counted).masked_fill(counted == 0, 0.0))
    return torch.stack(means, dim=1)


def _largest_of_images(values: Tensor, rows: RowMap) -> Tensor:
    """The largest of the rows' values [R] or [R, h, w] of each image, [B] or [B, h, w]."""
    # One by one: an index that is a list would be copied to the device, and waited for.
    return torch.stack([torch.stack([values[row] for row in shares]).amax(dim=0) for shares in rows.shares])
