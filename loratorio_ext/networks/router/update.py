"""What the router adds to one layer's output: the base of every kind of update, and what they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Prepared = TypeVar("Prepared")


@dataclass
class Ledger:
    """Memory that the prepared tensors of one plan hold, and how much all plans may hold, in bytes."""

    limit: int
    held: int = 0

    def has_room_for(self, size: int) -> bool:
        """Whether `size` more bytes stay within the limit."""
        return self.held + size <= self.limit


class Update(ABC, Generic[Prepared]):
    """Adds one kind of delta of all networks to one layer's output, for one strengths table.

    Tensors that serve every call are prepared when a call first needs them, and kept by key (dtype, device
    and whatever else they depend on).
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._kept: dict[Hashable, Prepared] = {}

    @abstractmethod
    def apply(self, module: nn.Module, x: Tensor, out: Tensor, per_row: int) -> None:
        """Add to `out` in place.

        x: the layer's input, dtype and device of `out`; out: contiguous, [rows · per_row, ...]; channels are
        the last dim of a linear layer and dim 1 of a convolution. per_row: entries of dim 0 for each row.
        """

    def clear(self) -> None:
        """Drop the prepared tensors."""
        self._kept.clear()

    def _keep(self, key: Hashable, prepared: Prepared, size: int) -> Prepared:
        """Keep what was prepared; size: its memory in bytes."""
        self._ledger.held += size
        self._kept[key] = prepared
        return prepared


def tensor_bytes(*parts: Tensor | None) -> int:
    """Memory that the tensors hold."""
    return sum(part.numel() * part.element_size() for part in parts if part is not None)


@contextmanager
def lasting() -> Iterator[None]:
    """Tensors made here may be kept: no gradient, and usable outside inference mode too."""
    with torch.inference_mode(False), torch.no_grad():
        yield


def repeat(part: Tensor, copies: int) -> Tensor:
    """Every slot `copies` times in a row: [slots, ...] → [slots · copies, ...]."""
    if copies == 1:
        return part
    with lasting():
        return part.repeat_interleave(copies, 0)
