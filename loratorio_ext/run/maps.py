"""Weight maps small enough to keep for every step."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

MAP_SIDE = 64
# All maps of a generation together; small enough for a report that a WebUI keeps for each of its pictures.
MAP_BYTES = 64 * 2**20


def small_maps(weights: Tensor, total: int) -> Tensor:
    """Weights for drawing: at most 64 × 64 and so small that a whole generation stays within ``MAP_BYTES``.

    Args:
        weights: [N, R, h, w].
        total: number of evaluations of the generation.

    Returns:
        float16 [N, R, h', w'] of the same proportions, the area average where smaller; on the same device.
    """
    count, rows, height, width = weights.shape
    affordable = math.isqrt(MAP_BYTES // (2 * count * rows * total))
    side = max(1, min(MAP_SIDE, affordable))
    longest = max(height, width)
    maps = weights.detach().float()
    if longest > side:
        size = (max(1, height * side // longest), max(1, width * side // longest))
        maps = F.adaptive_avg_pool2d(maps, size)
    return maps.half()
