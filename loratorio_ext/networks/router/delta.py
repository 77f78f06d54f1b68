"""What a network adds to one layer.

Two forms: `LowRank` (LoRA and LoCon, with or without the Tucker/CP core) and `Dense` (a difference of
the weight, of the bias, or of both). Neither holds a strength: that belongs to the batch row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

OutputSlice = tuple[int, int]
"""(start, length) on a layer's output width."""


def kernel_of(shape: Sequence[int]) -> tuple[int, ...]:
    """The kernel in the shape of a weight, [out, in, *kernel]; () for a linear layer and a kernel of ones."""
    kernel = tuple(shape[2:])
    return () if math.prod(kernel) == 1 else kernel


def _check_common(scale: float, output_slice: OutputSlice | None) -> None:
    if not math.isfinite(scale):
        raise ValueError(f"scale is {scale!r}; it must be a finite number (alpha / rank)")
    if output_slice is not None and (output_slice[0] < 0 or output_slice[1] < 1):
        raise ValueError(f"output_slice is {output_slice}; it must be (start >= 0, length >= 1)")


@dataclass(frozen=True, eq=False)
class LowRank:
    """ΔW = scale · up · down (LoRA), or scale · up · mid · down (LoCon with a Tucker/CP core).

    Shapes, any floating dtype, any device; kernel is (), (k,), (kh, kw) or (kt, kh, kw):

    - plain: down [rank, in / groups, *kernel], up [out, rank, *ones];
    - with mid: down [rank_in, in / groups, *ones], mid [rank_out, rank_in, *kernel],
      up [out, rank_out, *ones].

    A 1 × 1 kernel may be written with or without its spatial dims. Of a convolution with groups every
    group has the same `down` and its own rows of `up`, so that ΔW has the weight's shape
    [out, in / groups, *kernel]. `out` is the layer's output width, or the slice's length.

    scale: alpha / rank, finite. output_slice: (start, length) on the output width (fused qkv).
    Raises ValueError where the shapes do not fit each other.
    Source: LoRA (arXiv 2106.09685) eq. 3; LyCORIS (arXiv 2309.14859) sec. 3.1.
    """

    down: Tensor
    up: Tensor
    mid: Tensor | None = None
    scale: float = 1.0
    output_slice: OutputSlice | None = None

    def __post_init__(self) -> None:
        _check_common(self.scale, self.output_slice)
        down, up, mid = self.down, self.up, self.mid
        parts = {"down": down, "up": up} | ({} if mid is None else {"mid": mid})
        shapes = ", ".join(f"{name} {tuple(part.shape)}" for name, part in parts.items())
        for part in parts.values():
            if not 2 <= part.dim() <= 5 or not part.is_floating_point() or 0 in part.shape:
                raise ValueError(f"{shapes}: each must be a floating tensor of 2 to 5 dims, none of them 0")
        if kernel_of(up.shape):
            raise ValueError(
                f"{shapes}: up must have a kernel of 1, the layer's kernel belongs to down or mid"
            )
        if mid is not None and kernel_of(down.shape):
            raise ValueError(f"{shapes}: with a mid tensor, down must have a kernel of 1")
        ranks = (up.shape[1], down.shape[0])
        if ranks != mid.shape[:2] if mid is not None else ranks[0] != ranks[1]:
            raise ValueError(f"{shapes}: the ranks do not fit each other")
        if self.output_slice is not None and len(up) != self.output_slice[1]:
            raise ValueError(f"{shapes}: up must have the output slice's length {self.output_slice[1]}")

    @property
    def kernel(self) -> tuple[int, ...]:
        """Kernel of ΔW without a kernel of all ones: () for a linear layer or a 1 × 1 convolution."""
        return kernel_of(self.down.shape if self.mid is None else self.mid.shape)


@dataclass(frozen=True, eq=False)
class Dense:
    """ΔW and Δb as they are: given, or computed when the layer runs.

    weight: ΔW of the layer's weight shape (a slice: of the slice's rows), [out, in], [out, in / groups,
    *kernel], or [channels] for LayerNorm, GroupNorm and RMSNorm. computed: called with the layer's module,
    returns ΔW as above on any device (LoHa, LoKr, DoRA, OFT, ...); at most one of the two is set. bias: Δb
    [out]. scale multiplies ΔW only, as A1111 does (extensions-builtin/Lora/network.py, finalize_updown).
    Raises ValueError where both or nothing is given, or a shape cannot be.
    """

    weight: Tensor | None = None
    computed: Callable[[nn.Module], Tensor] | None = None
    bias: Tensor | None = None
    scale: float = 1.0
    output_slice: OutputSlice | None = None

    def __post_init__(self) -> None:
        _check_common(self.scale, self.output_slice)
        weight, bias = self.weight, self.bias
        if weight is not None and self.computed is not None:
            raise ValueError("a dense delta has either weight or computed, not both")
        if weight is None and self.computed is None and bias is None:
            raise ValueError("a dense delta needs one of weight, computed, bias")
        if weight is not None and not 1 <= weight.dim() <= 5:
            raise ValueError(f"weight has shape {tuple(weight.shape)}; 1 to 5 dims are possible")
        if bias is not None and bias.dim() != 1:
            raise ValueError(f"bias has shape {tuple(bias.shape)}; it must have one dim")
        for part in (weight, bias):
            if self.output_slice is not None and part is not None and len(part) != self.output_slice[1]:
                raise ValueError(f"{len(part)} rows are given; the slice's length is {self.output_slice[1]}")


Delta = LowRank | Dense
