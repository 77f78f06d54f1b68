"""The forward hook of one layer within one routing context."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from loratorio_ext.networks.updates import Update

FRESH_OUTPUT = frozenset({"Linear", "Conv1d", "Conv2d", "Conv3d", "LayerNorm", "GroupNorm", "RMSNorm"})
"""Names of classes whose forward makes a new tensor that nobody else holds: it may be added to in place."""


def _autocast_query() -> Callable[[str], bool]:
    """Torch before 2.4 has one query for each kind of device."""
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 4):
        return torch.is_autocast_enabled
    return lambda device: (
        torch.is_autocast_cpu_enabled() if device == "cpu" else bool(torch.is_autocast_enabled())
    )


autocast_enabled = _autocast_query()


class RowHook:
    """Adds to the layer's output what every row's networks add; the output's dtype stays."""

    def __init__(self, name: str, module: nn.Module, updates: Sequence[Update], rows: int) -> None:
        """rows: batch rows of the model call."""
        self._name = name
        self._updates = tuple(updates)
        self._rows = rows
        kind = type(module).__name__
        plain = kind in FRESH_OUTPUT and not module._modules and "forward" not in module.__dict__
        self._fresh = plain

    def __call__(
        self, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object], output: object
    ) -> Tensor:
        """Signature of `register_forward_hook(..., with_kwargs=True)`."""
        x = args[0] if args else next(iter(kwargs.values()), None)
        if not isinstance(x, Tensor) or not isinstance(output, Tensor):
            raise TypeError(
                f"layer {self._name}: input and output must be tensors to route networks through it"
            )
        entries, rows = output.shape[0], self._rows
        if entries % rows or x.shape[0] != entries or entries == 0:
            raise ValueError(
                f"layer {self._name}: its input has {x.shape[0]} entries and its output {entries}; the "
                f"routing context was opened for {rows} rows and needs a multiple of that"
            )
        if x.dtype != output.dtype:
            x = x.to(output.dtype)
        # Others' hooks may have kept the output as it was; autograd needs it as it was.
        in_place = self._fresh and len(module._forward_hooks) == 1
        if in_place and torch.is_grad_enabled() and (output.requires_grad or x.requires_grad):
            in_place = False
        if autocast_enabled(output.device.type):
            with torch.autocast(output.device.type, enabled=False):
                return self._add(module, x, output, entries // rows, in_place)
        return self._add(module, x, output, entries // rows, in_place)

    def _add(self, module: nn.Module, x: Tensor, output: Tensor, per_row: int, in_place: bool) -> Tensor:
        if in_place and output.is_contiguous():
            result = output
        else:
            result = output.clone(memory_format=torch.contiguous_format)
        if result.numel():
            for update in self._updates:
                update.apply(module, x, result, per_row)
        if output.dim() == 4 and not output.is_contiguous():
            kept = output.is_contiguous(memory_format=torch.channels_last)
            return result.contiguous(memory_format=torch.channels_last) if kept else result
        return result
