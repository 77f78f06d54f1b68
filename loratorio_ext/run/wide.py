"""The dtype in which differences of predictions are taken."""

from __future__ import annotations

import torch
from torch import Tensor


def wide(prediction: Tensor) -> Tensor:
    """A prediction in float32, float64 if it is that: in half precision a small difference would round away.

    ``prediction``: any shape, any floating dtype; returned itself where it is wide already.
    """
    return prediction.to(torch.promote_types(prediction.dtype, torch.float32))
