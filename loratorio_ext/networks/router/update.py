"""What the router adds to one layer's output: the base of every kind of update, and what they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from loratorio_ext.networks.router.delta import Dense, LowRank, OutputSlice
from loratorio_ext.networks.router.fit import convolution_dims, norm_kind
from loratorio_ext.networks.router.places import Places, UnplacedError
from loratorio_ext.networks.router.plan import Block, Terms

AnyDelta = TypeVar("AnyDelta", LowRank, Dense)
Prepared = TypeVar("Prepared", bound=tuple[Tensor | None, ...])


@dataclass
class Ledger:
    """Memory that the prepared tensors of one strengths table hold, and how much they may, in bytes."""

    limit: int
    held: int = 0


class Update(ABC, Generic[AnyDelta, Prepared]):
    """Adds one kind of delta of all networks to one layer's output, for one strengths table.

    Tensors are prepared for every block of rows when a call first needs them, and kept by dtype, device and
    entries for each row; where `bounded`, only while the ledger has room, else they are made at every call.
    """

    bounded: ClassVar[bool] = False

    def __init__(
        self,
        module: nn.Module,
        deltas: Mapping[int, Sequence[AnyDelta]],
        output_slice: OutputSlice | None,
        segments: tuple[Block, ...],
        ledger: Ledger,
    ) -> None:
        """deltas: network → its deltas of this kind, all of one output slice. segments: on which they act."""
        self._module = module
        self._dims = convolution_dims(module)
        self._norm = norm_kind(module)
        self._channels = 1 if self._dims or self._norm == "group" else -1  # their dim
        self._groups = int(getattr(module, "groups", 1))
        self._deltas: Mapping[int, Sequence[AnyDelta]] = deltas
        self._slice = output_slice
        self._blocks = self._grouped(segments)
        self._ledger = ledger
        self._kept: dict[tuple[int, torch.dtype, torch.device, int], Prepared] = {}

    def apply(self, layer: str, x: Tensor, out: Tensor, per_row: int, places: Places | None) -> None:
        """Add to `out` in place.

        x: the layer's input, dtype and device of `out`; out: contiguous, [rows · per_row, ...]; channels are
        the last dim of a linear layer and dim 1 of a convolution. per_row: entries of dim 0 for each row.
        places: the maps of rows that place networks.
        """
        for index, block in enumerate(self._blocks):
            key = (index, out.dtype, out.device, per_row)
            prepared = self._kept.get(key)
            if prepared is None:
                # Kept tensors have no gradient and may be used outside inference mode too.
                with torch.inference_mode(False), torch.no_grad():
                    prepared = self._prepare(block, out, per_row)
                size = sum(part.numel() * part.element_size() for part in prepared if part is not None)
                if not self.bounded or self._ledger.held + size <= self._ledger.limit:
                    self._kept[key] = prepared
                    self._ledger.held += size
            source, target, count = x, out, block.rows * per_row
            if count != out.shape[0]:
                start = block.start * per_row
                source, target = x.narrow(0, start, count), out.narrow(0, start, count)
            maps = None
            if block.placed and places is not None:
                if per_row != 1:
                    raise UnplacedError(
                        f"layer {layer} has {per_row} entries for each row of the call, so it is not known "
                        "which places they are: another extension may split the picture into tiles"
                    )
                maps = places.at(layer, target, self._channels, block.start, self._columns(block))
            self._add(source, target, prepared, maps)

    def clear(self) -> None:
        """Drop the prepared tensors."""
        self._kept.clear()

    @abstractmethod
    def _grouped(self, segments: tuple[Block, ...]) -> tuple[Block, ...]:
        """The blocks that the rows are handled in."""

    @abstractmethod
    def _prepare(self, block: Block, like: Tensor, per_row: int) -> Prepared:
        """The block's tensors as `_add` takes them; like: the layer's whole output."""

    @abstractmethod
    def _columns(self, block: Block) -> tuple[int, ...]:
        """Of a block that places networks: the network of each channel that `_add` multiplies by a map."""

    @abstractmethod
    def _add(self, x: Tensor, out: Tensor, prepared: Prepared, maps: Tensor | None) -> None:
        """Add to the block's part of the output; x: the block's part of the input.

        maps: of a block that places networks, see `Places.at`.
        """

    def _acting(self, terms: Terms) -> list[tuple[AnyDelta, float]]:
        """The deltas that act by these terms, with their strengths."""
        return [(delta, strength) for i, strength in terms for delta in self._deltas[i]]


def upcast(tensor: Tensor) -> Tensor:
    """The tensor without gradient, in float32, or in float64 where it is float64."""
    return tensor.detach().to(torch.float64 if tensor.dtype == torch.float64 else torch.float32)


def padded(module: nn.Module, x: Tensor) -> Tensor:
    """A convolution's input [n, channels, *spatial], padded where the convolution itself cannot do it.

    The mode is read at every call: hosts change it at run time (A1111's tiling sets "circular").
    """
    mode = getattr(module, "padding_mode", "zeros")
    if mode == "zeros":
        return x
    return functional.pad(x, getattr(module, "_reversed_padding_repeated_twice", ()), mode=mode)


def convolve(module: nn.Module, x: Tensor, weight: Tensor, groups: int) -> Tensor:
    """The module's convolution of 1 to 3 dims with another weight, without bias, on `padded` input."""
    function = (functional.conv1d, functional.conv2d, functional.conv3d)[weight.dim() - 3]
    padding = getattr(module, "padding", 0) if getattr(module, "padding_mode", "zeros") == "zeros" else 0
    dilation = getattr(module, "dilation", 1)
    return function(x, weight, None, getattr(module, "stride", 1), padding, dilation, groups)
