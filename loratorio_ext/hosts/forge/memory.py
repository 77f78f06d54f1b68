"""What Forge has to keep free for composing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from loratorio_ext.hosts.forge import webui
from loratorio_ext.hosts.forge.backend import Backend
from loratorio_ext.hosts.webuis.adapter import UnetLayers
from loratorio_ext.networks.router import Delta, LowRank

# What Forge itself wants left free (sampling_function.py warns below 1.5 GiB).
_LEFT = 1.5 * 1024**3


def announce_memory(
    backend: Backend,
    unet: Any,
    x: Tensor,
    rows: int,
    networks: Iterable[UnetLayers],
    network_bytes: int,
) -> None:
    """Ask for room for the networks' tensors, and for model calls of this many rows.

    For the rows no more is asked than is left beside the UNet: splitting a call into smaller ones is far
    cheaper than moving the UNet's weights in and out.

    Args:
        backend: of this Forge.
        unet: the patcher that samples.
        x: noisy latents [B, C, H, W].
        rows: of the largest model call.
        networks: what each adds to the UNet.
        network_bytes: limit of what is kept of them between calls.
    """
    width = backend.width(unet)
    sizes = [bytes_of(one.deltas, unet.model, width) for one in networks]
    tensors = tensors_at_once(sizes, rows, network_bytes)
    required = webui.estimate_of_memory(unet)
    usual = required([2 * len(x), *x.shape[1:]])
    more = required([rows, *x.shape[1:]]) - usual
    room = backend.total_memory(unet) - unet.model_size() - tensors - usual - _LEFT
    unet.add_extra_preserved_memory_during_sampling(int(tensors + max(min(more, room), 0)))


def tensors_at_once(networks: Sequence[int], rows: int, kept: int) -> int:
    """Bytes of the networks that are on the device at once.

    Those of one call are, which has no more networks than rows; of the others, as many as are kept.

    Args:
        networks: bytes of each network.
        rows: of a model call.
        kept: limit of what is kept between calls, in bytes.
    """
    largest = sorted(networks, reverse=True)
    return sum(largest[:rows]) + min(sum(largest[rows:]), kept)


def bytes_of(deltas: Mapping[str, Sequence[Delta]], model: nn.Module, width: int) -> int:
    """Bytes of what a network adds to a model's layers, with ``width`` bytes per number."""
    return width * sum(
        _numbers(delta, model.get_submodule(name)) for name, found in deltas.items() for delta in found
    )


def _numbers(delta: Delta, layer: nn.Module) -> int:
    if isinstance(delta, LowRank):
        return sum(part.numel() for part in (delta.down, delta.up, delta.mid) if part is not None)
    if delta.computed is not None:
        return _weight_of(layer)
    return sum(part.numel() for part in (delta.weight, delta.bias) if part is not None)


def _weight_of(layer: Any) -> int:
    """How many numbers a layer's weight has; one in 4 bits is packed, and its state tells (bitsandbytes)."""
    state = getattr(layer.weight, "quant_state", None)
    return math.prod((layer.weight if state is None else state).shape)
