"""What the router adds to one layer's output: each kind of delta has its own update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn


@dataclass
class Ledger:
    """Memory that the prepared tensors of one plan hold, and how much all plans may hold, in bytes."""

    limit: int
    held: int = 0

    def has_room_for(self, size: int) -> bool:
        """Whether `size` more bytes stay within the limit."""
        return self.held + size <= self.limit


class Update(Protocol):
    """Adds one kind of delta of all networks to one layer's output, for one strengths table."""

    def apply(self, module: nn.Module, x: Tensor, out: Tensor, per_row: int) -> None:
        """Add to `out` in place.

        x: the layer's input, dtype and device of `out`; out: contiguous, [rows · per_row, ...]; channels are
        the last dim of a linear layer and dim 1 of a convolution. per_row: entries of dim 0 for each row.
        """

    def clear(self) -> None:
        """Drop the prepared tensors."""
