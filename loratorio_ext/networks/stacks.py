"""Low-rank factors of a block's slots, stacked for batched products: cast, scaled, ranks zero-padded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from loratorio_ext.networks.delta import LowRank, at_least_float32

Factors = Sequence[tuple[LowRank, float]]
"""The low-rank deltas of one slot with their strengths; their ranks are laid side by side."""


@dataclass(frozen=True, eq=False)
class Stack:
    """Factors of the slots of one block.

    down [slots, rank_in, in / groups, *kernel]; up [slots, out, rank_out], scaled by scale × strength;
    mid [slots, rank_out, rank_in, *kernel] or None (then rank_in = rank_out).
    """

    down: Tensor
    up: Tensor
    mid: Tensor | None


def down_rank(delta: LowRank) -> int:
    """Rank on the input side."""
    return delta.down.shape[0]


def up_rank(delta: LowRank) -> int:
    """Rank on the output side (another than the input side's only with a mid tensor)."""
    return delta.up.shape[1]


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


def tensor_bytes(*parts: Tensor | None) -> int:
    """Memory that the tensors hold."""
    return sum(part.numel() * part.element_size() for part in parts if part is not None)


def stack_factors(slots: Sequence[Factors], dims: int, dtype: torch.dtype, device: torch.device) -> Stack:
    """Stack the slots' factors.

    All deltas of a call have the same input and output widths, kernel, and all or none of them a mid.
    dims: the layer's spatial dims (0: linear); without mid the kernel of `down` is given these dims.
    """
    first = slots[0][0][0]
    kernel = tuple((first.down if first.mid is None else first.mid).shape[2:])
    kernel = kernel if len(kernel) == dims else (1,) * dims
    rank_in = max(sum(down_rank(delta) for delta, _ in slot) for slot in slots)
    rank_out = max(sum(up_rank(delta) for delta, _ in slot) for slot in slots)
    width_in, width_out = first.down.shape[1], first.up.shape[0]
    down_kernel = kernel if first.mid is None else ()
    with lasting():
        down = torch.zeros(len(slots), rank_in, width_in, *down_kernel, dtype=dtype, device=device)
        up = torch.zeros(len(slots), width_out, rank_out, dtype=dtype, device=device)
        mid = None
        if first.mid is not None:
            mid = torch.zeros(len(slots), rank_out, rank_in, *kernel, dtype=dtype, device=device)
        for index, slot in enumerate(slots):
            a = b = 0
            for delta, strength in slot:
                a_end, b_end = a + down_rank(delta), b + up_rank(delta)
                down[index, a:a_end] = (
                    delta.down.detach().reshape(-1, width_in, *down_kernel).to(device, dtype)
                )
                scaled = at_least_float32(delta.up).reshape(width_out, -1) * (delta.scale * strength)
                up[index, :, b:b_end] = scaled.to(device, dtype)
                if mid is not None and delta.mid is not None:
                    mid[index, b:b_end, a:a_end] = delta.mid.detach().to(device, dtype)
                a, b = a_end, b_end
    return Stack(down, up, mid)
