"""What Forge has to keep free for composing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from loratorio_ext.hosts.forge import webui
from loratorio_ext.networks.delta import Delta, LowRank

# Room that Forge itself wants to be left (sampling_function.py warns below 1.5 GiB).
_LEFT = 1.5 * 1024**3


def announce(unet: Any, x: Tensor, rows: int, networks: Sequence[Sequence[Delta]]) -> None:
    """Ask for room for the networks' tensors and for model calls of so many rows.

    The rows ask for no more than what is left beside the UNet: to split a call into smaller ones is far
    cheaper than to move the UNet's weights in and out.
    """
    tensors = sum(_bytes(delta) for deltas in networks for delta in deltas)
    usual = unet.memory_required([2 * len(x), *x.shape[1:]])
    more = unet.memory_required([rows, *x.shape[1:]]) - usual
    room = webui.total_memory(unet) - unet.model_size() - tensors - usual - _LEFT
    unet.add_extra_preserved_memory_during_sampling(int(tensors + max(min(more, room), 0)))


def _bytes(delta: Delta) -> int:
    parts = (delta.down, delta.up, delta.mid) if isinstance(delta, LowRank) else (delta.weight, delta.bias)
    return sum(part.numel() * part.element_size() for part in parts if part is not None)
