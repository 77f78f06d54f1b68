"""One denoising step of LoRAtorio: the predictions of base and networks composed into one (steps 2 to 7)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from loratorio_ext.method.aggregation import Aggregation
from loratorio_ext.method.checks import check_predictions, check_settings
from loratorio_ext.method.rows import RowMap
from loratorio_ext.method.weights import (
    TopKScope,
    Weighting,
    by_ratio,
    divergence,
    patch_means,
    relative,
    select_top_k,
    softmin,
    to_patches,
    within,
)


@dataclass(frozen=True, eq=False)
class Composition:
    """What `compose` makes of the predictions of one step.

    Attributes:
        cond: ẽ(z_t, c), [R, C, H, W], the dtype of the predictions.
        uncond: ẽ(z_t), [B, C, H, W], the same dtype; None without unconditional predictions.
        similarity: s, [N, R, h, w], float32, in [-1, 1]; 1 for a network that takes no part in a row.
        divergence: 1 − s, [N, R, h, w], in [0, 2], float32 (float64 for float64), with the digits that s
            loses to rounding: networks are ranked by this. 0 for a network that takes no part in a row.
        selected: bool, [N, R, h, w]. The networks that dynamic selection kept; without it all usable ones.
        weights: Ω̂, [N, R, h, w], float32. Sums to 1 over the networks (less where their places leave
            something over); all 0 in a row without any usable network, where the base's prediction is taken.
        finite: bool, [N, R]. False: the network takes part in the row, but a prediction of it held NaN or
            infinity, so its weight is 0 there.
        aggregation: how the predictions were combined, to be used for further ones.
    """

    cond: Tensor
    uncond: Tensor | None
    similarity: Tensor
    divergence: Tensor
    selected: Tensor
    weights: Tensor
    finite: Tensor
    aggregation: Aggregation


def compose(
    base_cond: Tensor,
    network_conds: Tensor,
    base_uncond: Tensor | None = None,
    network_unconds: Tensor | None = None,
    *,
    patch_size: int,
    temperature: float,
    top_k: int,
    top_k_scope: TopKScope,
    recenter: float,
    weighting: Weighting = "difference",
    gain: float = 0.0,
    active: Tensor | None = None,
    places: Tensor | None = None,
    compare_as: Callable[[Tensor], Tensor] | None = None,
    rows: RowMap | None = None,
) -> Composition:
    """Compose the predictions of N networks by how far each diverges from the base, place by place.

    Predictions are float16, bfloat16, float32 or float64, all of one dtype and device; similarity, weights
    and sums are calculated in float32 (float64 for float64). Inputs are not modified and share no memory
    with the result. Nothing waits for the device.

    R conditional rows belong to B images; without ``rows`` row b is image b and R = B.

    A base prediction that is not finite has similarity 0 with every network at the patches concerned; the
    host must report it, and it stays visible in ``uncond``.

    Args:
        base_cond: e_θ(z_t, c), [R, C, H, W].
        network_conds: e_θi(z_t, c), [N, R, C, H, W], N ≥ 1.
        base_uncond: e_θ(z_t), [B, C, H, W]; None without guidance.
        network_unconds: e_θi(z_t), [N, B, C, H, W]; None without guidance. Not used with λ = 1.
        patch_size: d ≥ 1, in latent pixels.
        temperature: τ > 0, finite. Small: the most divergent network alone; large: the mean of all.
        top_k: k ≥ 0, networks kept; 0: all.
        top_k_scope: "image": k networks for a row; "patch": k networks at each patch.
        recenter: λ in [0, 1]. 0: the networks' unconditional score, 1: the base's.
        weighting: "difference": SoftMin of s, the paper's; "relative": shares of the divergences
            relative to each network's own mean, so that a temperature means the same everywhere (`relative`).
        gain: g in [0, 1]: what N networks add to the base's prediction is multiplied by N^g, where N counts
            those that can have weight at a patch. 0: the mean, as in the paper; 1: the sum, with equal
            weights.
        active: bool, [N] or [N, R], on the predictions' device; False: takes no part. None: all take part.
        places: where each network may speak, [N, 1, H, W] or [N, R, H, W] in [0, 1], on the predictions'
            device: its weight is multiplied by it, the others share what it leaves, and the base has what
            all leave. None: everywhere.
        compare_as: maps conditional predictions [..., R, C, H, W], float32 (or float64), into the space in
            which the cosine is taken, keeping their shape and not modifying them. None: as they are.
        rows: the image and the AND weight of each conditional row.

    Returns:
        The composed predictions, and the maps that made them.

    Raises:
        ValueError: a shape, dtype, device or setting is wrong; names the value and what is allowed.

    Source: arXiv 2508.11624, section "One denoising step" of the method. e: predicted noise, or any space
    that is affine in it, since steps 6 and 7 have weights that sum to 1.
    """
    check_settings(patch_size, temperature, top_k, top_k_scope, recenter, weighting, gain)
    predictions = base_cond, network_conds, base_uncond, network_unconds
    rows = check_predictions(*predictions, recenter, rows, active, places)
    dtype = base_cond.dtype
    base, networks = upcast(base_cond), upcast(network_conds)
    compared_base, compared = _compared(base, compare_as), _compared(networks, compare_as)
    finite = _is_finite(networks) & _is_finite(compared)
    if base_uncond is not None and network_unconds is not None and recenter < 1:
        finite = finite & rows.of_rows(_is_finite(network_unconds))
    taking_part = torch.ones_like(finite)
    if active is not None:
        active = active.to(finite.device)
        taking_part = active[:, None].expand_as(finite) if active.dim() == 1 else active
    usable = taking_part & finite
    inside = None
    if places is not None:
        inside = patch_means(places.to(base.dtype).expand(-1, len(base), -1, -1), patch_size)

    # Steps 2 and 3. Ranking and SoftMin ask only for differences of s, so they are given s − 1, of which
    # float32 holds more digits than of s.
    s_minus_1 = -divergence(to_patches(compared, patch_size), to_patches(compared_base, patch_size))

    # Step 4, among the selected networks.
    candidates = usable if inside is None else usable[:, :, None, None] & (inside > 0)
    selected = select_top_k(s_minus_1, top_k, top_k_scope, candidates)
    if weighting == "difference":
        weights = softmin(s_minus_1, temperature, selected)
    else:
        # Unit vectors of rounded predictions are wrong by about ε, their squared distance by about ε².
        rounding = 4 * torch.finfo(dtype).eps ** 2
        weights = by_ratio(relative(-s_minus_1, rounding), temperature, selected)

    # Steps 5 to 7.
    counts = selected.sum(dim=0).amax(dim=(-2, -1)).to(base.dtype)
    if inside is not None:
        weights, counts = within(weights, inside, selected)
    aggregation = Aggregation(weights, counts, patch_size, gain, recenter, rows)
    cond = aggregation.cond(base, networks)
    uncond = None
    if base_uncond is not None:
        unconds = None if network_unconds is None else upcast(network_unconds)
        uncond = aggregation.uncond(upcast(base_uncond), unconds)

    unusable = ~usable[:, :, None, None]
    return Composition(
        cond=cond.to(dtype),
        uncond=None if uncond is None else uncond.to(dtype),
        similarity=(1 + s_minus_1).masked_fill(unusable, 1.0).float(),
        divergence=(-s_minus_1).masked_fill(unusable, 0.0),
        selected=selected,
        weights=weights.float(),
        finite=finite | ~taking_part,
        aggregation=aggregation,
    )


def _compared(predictions: Tensor, compare_as: Callable[[Tensor], Tensor] | None) -> Tensor:
    """Predictions in the space of the cosine."""
    if compare_as is None:
        return predictions
    compared = compare_as(predictions)
    if compared.shape != predictions.shape:
        raise ValueError(
            f"compare_as made {tuple(compared.shape)} of {tuple(predictions.shape)}; it must keep the shape"
        )
    return compared.to(predictions.dtype)


def _is_finite(predictions: Tensor) -> Tensor:
    """Whether each [C, H, W] of [N, rows, C, H, W] is finite; bool [N, rows]."""
    return predictions.isfinite().flatten(2).all(dim=2)


def upcast(prediction: Tensor) -> Tensor:
    """A prediction in float32, or float64 if it is that: half precision would round small differences away.

    ``prediction``: any shape, any floating dtype; returned as it is where nothing needs to change.
    """
    return prediction.to(torch.promote_types(prediction.dtype, torch.float32))
