"""Random LoRA networks for a UNet: which layers they touch, and their factors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from loratorio_ext.networks.router import LowRank

Layers = Literal["linear", "conv"]
Network = dict[str, tuple[LowRank, ...]]

SCALE = 0.3
"""So strong that rows of a network differ clearly from the base's: a case that leaves them out is seen."""


def touched(unet: nn.Module, layers: Layers) -> Iterator[tuple[str, nn.Linear | nn.Conv2d]]:
    """The layers that networks touch, by name.

    "linear": the attention blocks' linear layers and projections, which is what most LoRA files hold. "conv":
    every linear layer and every convolution (LoCon).
    """
    for name, module in unet.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)) and (layers == "conv" or ".attentions." in name):
            yield name, module


def factors_size(module: nn.Linear | nn.Conv2d, rank: int) -> int:
    """Numbers that a network holds for a layer."""
    return rank * (module.weight[0].numel() + module.weight.shape[0])


def random_networks(unet: nn.Module, count: int, rank: int, layers: Layers) -> list[Network]:
    """Networks of one rank on the UNet's device and in its dtype; the same ones at every call."""
    generator = torch.Generator().manual_seed(2)

    def draw(like: Tensor, *size: int) -> Tensor:
        return torch.randn(size, generator=generator).to(like)

    networks: list[Network] = []
    for _ in range(count):
        network: Network = {}
        for name, module in touched(unet, layers):
            weight = module.weight
            kernel = tuple(weight.shape[2:])
            down = draw(weight, rank, weight.shape[1], *kernel) / weight[0].numel() ** 0.5
            up = draw(weight, weight.shape[0], rank, *(1 for _ in kernel)) / rank**0.5
            network[name] = (LowRank(down, up, scale=SCALE),)
        networks.append(network)
    return networks
