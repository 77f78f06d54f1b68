"""Differences of a normalisation's weight and bias: out += normalised(x) · Δw + Δb."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from loratorio_ext.networks.delta import at_least_float32
from loratorio_ext.networks.dense import Parts, bias_table
from loratorio_ext.networks.kinds import NormKind
from loratorio_ext.networks.stacks import lasting, tensor_bytes
from loratorio_ext.networks.updates import Ledger


class NormUpdate:
    """Weight differences of LayerNorm (last dim), RMSNorm (last dim) or GroupNorm (dim 1)."""

    def __init__(self, kind: NormKind, rows: Sequence[Parts], width: int, ledger: Ledger) -> None:
        """rows: for every batch row its deltas. width: number of channels."""
        self._kind = kind
        self._rows = tuple(rows)
        self._width = width
        self._ledger = ledger
        self._prepared: dict[tuple[torch.dtype, torch.device], tuple[Tensor, Tensor]] = {}

    def apply(self, module: nn.Module, x: Tensor, out: Tensor, per_row: int) -> None:
        """See `Update.apply`."""
        prepared = self._prepared.get((out.dtype, out.device))
        if prepared is None:
            with lasting():
                weight = self._weight_table().to(out.device, out.dtype)
                bias = bias_table(self._rows, self._width).to(out.device, out.dtype)
            self._ledger.held += tensor_bytes(weight, bias)
            prepared = self._prepared[out.dtype, out.device] = (weight, bias)
        weight, bias = prepared
        normalised = normalise(self._kind, module, x, self._width)
        if self._kind == "group":
            view = out.view(len(self._rows), per_row, self._width, -1)
            view.addcmul_(normalised.reshape(view.shape), weight[:, None, :, None])
            view.add_(bias[:, None, :, None])
        else:
            view = out.view(len(self._rows), -1, self._width)
            view.addcmul_(normalised.reshape(view.shape), weight[:, None, :])
            view.add_(bias[:, None, :])

    def clear(self) -> None:
        """Drop the tables."""
        self._prepared.clear()

    def _weight_table(self) -> Tensor:
        table = torch.zeros(len(self._rows), self._width, dtype=torch.float64)
        for index, parts in enumerate(self._rows):
            for delta, strength in parts:
                if delta.weight is not None:
                    table[index] += at_least_float32(delta.weight).cpu() * (delta.scale * strength)
        return table


def normalise(kind: NormKind, module: nn.Module, x: Tensor, width: int) -> Tensor:
    """The module's normalisation without its weight and bias, from its attributes alone."""
    eps = getattr(module, "eps", None)
    if kind == "group":
        groups = int(getattr(module, "num_groups", 1))
        return functional.group_norm(x, groups, eps=1e-5 if eps is None else float(eps))
    if kind == "layer":
        return functional.layer_norm(x, (width,), eps=1e-5 if eps is None else float(eps))
    wide = x if x.dtype == torch.float64 else x.float()
    eps = torch.finfo(x.dtype).eps if eps is None else float(eps)
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)
