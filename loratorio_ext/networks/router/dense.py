"""Dense differences: of a weight, of a bias, and of a normalisation's weight and bias."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from loratorio_ext.networks.router.delta import Dense
from loratorio_ext.networks.router.fit import NormKind
from loratorio_ext.networks.router.plan import Block, blocks_of
from loratorio_ext.networks.router.update import Update, convolve, padded, upcast


class DenseUpdate(Update[Dense, tuple[Tensor]]):
    """out[segment] += layer(x[segment]) with the segment's summed ΔW in place of the layer's weight.

    All deltas have a weight, given or computed. The blocks are segments.
    """

    bounded: ClassVar[bool] = True

    def _grouped(self, segments: tuple[Block, ...]) -> tuple[Block, ...]:
        return one_by_one(segments)

    def _columns(self, block: Block) -> tuple[int, ...]:
        return (block.slots[0][0].network,)

    def _prepare(self, block: Block, like: Tensor, per_row: int) -> tuple[Tensor]:
        parts = (self._weighted(*one).to(like.device) for one in self._acting(block.slots[0]))
        return (reduce(torch.add, parts).to(like.dtype),)

    def _weighted(self, delta: Dense, strength: float) -> Tensor:
        """ΔW at its scale and strength, in the layer's dims."""
        given = delta.weight if delta.computed is None else delta.computed(self._module)
        if given is None:
            raise ValueError("a dense update was given a delta without a weight")
        given = given.reshape(*given.shape, *(1,) * (self._dims + 2 - given.dim()))
        return upcast(given) * (delta.scale * strength)

    def _add(self, x: Tensor, out: Tensor, prepared: tuple[Tensor], maps: Tensor | None) -> None:
        (weight,) = prepared
        if self._slice is not None:
            out = out.narrow(self._channels, *self._slice)
        if self._dims:
            added = convolve(self._module, padded(self._module, x), weight, self._groups)
        else:
            added = torch.matmul(x, weight.t())
        out.add_(added if maps is None else added * maps)


class NormOrBiasUpdate(Update[Dense, tuple[Tensor, Tensor | None]]):
    """out += Δb[slot] on the channels, and normalised(x) · Δw[slot] where the layer is a normalisation."""

    def _grouped(self, segments: tuple[Block, ...]) -> tuple[Block, ...]:
        return blocks_of(one_by_one(segments), lambda terms: 1)

    def _columns(self, block: Block) -> tuple[int, ...]:
        return (block.slots[0][0].network,)

    def _prepare(self, block: Block, like: Tensor, per_row: int) -> tuple[Tensor, Tensor | None]:
        """Every slot's summed Δb and Δw, [slots, 1, channels] or [slots, 1, channels, 1]."""
        slots = [self._acting(terms) for terms in block.slots]
        width = like.shape[self._channels]
        given = [delta.bias for slot in slots for delta, _ in slot if delta.bias is not None]
        dtype = torch.float64 if any(bias.dtype == torch.float64 for bias in given) else torch.float32
        biases = torch.zeros(len(slots), width, dtype=dtype)
        weights = torch.zeros(len(slots), width, dtype=torch.float64)
        for bias, weight, slot in zip(biases, weights, slots, strict=True):
            for delta, strength in slot:
                if delta.bias is not None:
                    start, length = delta.output_slice or (0, width)
                    bias[start : start + length] += delta.bias.to("cpu", dtype) * strength
                if self._norm is not None and delta.weight is not None:
                    weight += upcast(delta.weight).cpu() * (delta.scale * strength)
        shape = (len(slots), 1, width, *(() if self._channels == -1 else (1,)))
        return biases.to(like).view(shape), None if self._norm is None else weights.to(like).view(shape)

    def _add(
        self, x: Tensor, out: Tensor, prepared: tuple[Tensor, Tensor | None], maps: Tensor | None
    ) -> None:
        bias, weight = prepared
        slots, width = bias.shape[0], bias.shape[2]
        shape = (slots, -1, width) if self._channels == -1 else (slots, out.shape[0] // slots, width, -1)
        view = out.view(shape)
        if maps is not None:
            view = torch.zeros_like(view)
        if weight is not None and self._norm is not None:
            view.addcmul_(normalise(self._norm, self._module, x, width).reshape(shape), weight)
        view.add_(bias)
        if maps is not None:
            out.add_(view.view_as(out) * maps)


def one_by_one(segments: tuple[Block, ...]) -> tuple[Block, ...]:
    """A block for each network of a segment in which they are placed, since each has its map."""
    found: list[Block] = []
    for segment in segments:
        terms = [(term,) for term in segment.slots[0]] if segment.placed else [segment.slots[0]]
        found += [replace(segment, slots=(one,)) for one in terms]
    return tuple(found)


def normalise(kind: NormKind, module: nn.Module, x: Tensor, width: int) -> Tensor:
    """The module's normalisation without its weight and bias, from its attributes alone."""
    eps = getattr(module, "eps", None)
    if kind == "group":
        groups = int(getattr(module, "num_groups", 1))
        return functional.group_norm(x, groups, eps=1e-5 if eps is None else float(eps))
    if kind == "layer":
        return functional.layer_norm(x, (width,), eps=1e-5 if eps is None else float(eps))
    upcast = x if x.dtype == torch.float64 else x.float()
    eps = torch.finfo(x.dtype).eps if eps is None else float(eps)
    return (upcast * torch.rsqrt(upcast.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)
