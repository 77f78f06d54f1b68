"""The ways of others, as fast as their own means allow: peft's layers, and merging into the weights."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from loratorio_ext.networks.router import LowRank
from loratorio_lab.bench.networks import Network
from loratorio_lab.bench.shapes import Rows, twin

Stacking = Literal["unfused", "fused", "masked"]
"""All networks in every row: each added by its layers, or in the weights, or added where its mask is 1."""


def set_adapters(unet: Any, networks: Sequence[Network], rows: Rows) -> Callable[[], Tensor]:
    """One call of the UNet for each network, made the only active one by diffusers, and one for the base.

    As the code of "Multi-LoRA Composition for Image Generation" (arXiv 2402.16843) does it, which has no base
    prediction. Works on a twin of the UNet.
    """
    wrapped = _with_adapters(unet, networks)

    def way() -> Tensor:
        wrapped.disable_adapters()
        parts = [rows.predict(wrapped)]
        wrapped.enable_adapters()
        for index in range(len(networks)):
            wrapped.set_adapters(_name(index), 1.0)
            parts.append(rows.predict(wrapped))
        return torch.cat(parts)

    return way


def all_adapters(
    unet: Any, networks: Sequence[Network], rows: Rows, stacking: Stacking = "unfused"
) -> Callable[[], Tensor]:
    """One call of the UNet with all networks active in every row, as diffusers stacks them.

    "masked" is what needs no change of the UNet: hooks that multiply what lies between a network's two
    factors by a mask. Network i of N has the i-th of N upright strips of the picture (where a layer has fewer
    columns than networks, some have none). Works on a twin of the UNet.
    """
    wrapped = _with_adapters(unet, networks)
    wrapped.set_adapters([_name(index) for index in range(len(networks))], 1.0)
    if stacking == "fused":
        wrapped.fuse_lora(safe_fusing=True)  # not in place: the twin's weights are the UNet's own
    if stacking == "masked":
        _keep_to_strips(wrapped, networks, rows.latents)
    return lambda: rows.predict(wrapped)


def _keep_to_strips(wrapped: nn.Module, networks: Sequence[Network], latents: Tensor) -> None:
    count, (height, width) = len(networks), latents.shape[-2:]
    known: dict[tuple[int, ...], Tensor] = {}

    def strips(size: tuple[int, ...]) -> Tensor:
        """[networks, ...], to be multiplied with what one of them has between its factors, [rows, *size]."""
        if size not in known:
            image = len(size) == 3
            columns = size[-1] if image else width // math.isqrt(height * width // size[0])
            column = torch.arange(columns if image else size[0]) % columns
            masks = nn.functional.one_hot(column * count // columns, count).T.to(latents)
            known[size] = masks[:, None, None] if image else masks[..., None]
        return known[size]

    def keep(index: int, name: str) -> Callable[..., Tensor]:
        if name.endswith(("attn2.to_k", "attn2.to_v", "time_emb_proj")) or "embedding" in name:
            # Words and times have no places: an equal share.
            return lambda module, given, inner: inner / count
        return lambda module, given, inner: inner * strips(inner.shape[1:])[index]

    for index, network in enumerate(networks):
        for name in network:
            layer: Any = wrapped.get_submodule(name)
            layer.lora_A[_name(index)].register_forward_hook(keep(index, name))


def mixed_batch(unet: Any, networks: Sequence[Network], rows: Rows) -> Callable[[], Tensor]:
    """One call in which peft gives every row its adapter, by the argument `adapter_names` of a PeftModel.

    rows: those of the base, then those of each network, equally many. Works on a twin of the UNet.
    """
    wrapped: Any = None
    for index, network in enumerate(networks):
        if wrapped is None:
            # Without the cast, factors of float16 would become float32.
            wrapped = get_peft_model(
                twin(unet), _configuration(network), _name(index), autocast_adapter_dtype=False
            )
        else:
            wrapped.add_adapter(_name(index), _configuration(network), autocast_adapter_dtype=False)
    _fill(wrapped, networks)
    wrapped.requires_grad_(False).eval()
    each = len(rows) // (1 + len(networks))
    sources = ["__base__", *(_name(index) for index in range(len(networks)))]
    names = [name for name in sources for _ in range(each)]

    def with_names(*arguments: Any, **named: Any) -> Any:
        return wrapped(*arguments, adapter_names=names, **named)

    return lambda: rows.predict(with_names)


class Merging:
    """Networks added to the weights, one after the other, and the weights put back from a copy."""

    def __init__(self, unet: nn.Module, networks: Sequence[Network]) -> None:
        """Copy the weights that networks touch."""
        weights = {name: unet.get_submodule(name).get_parameter("weight") for name in networks[0]}
        self._weights: Mapping[str, Tensor] = {name: weight.detach() for name, weight in weights.items()}
        self._saved = {name: weight.clone() for name, weight in self._weights.items()}
        self._networks = networks

    @contextmanager
    def only(self, network: int) -> Iterator[None]:
        """The network's ΔW is in the weights until the context ends."""
        try:
            for name, deltas in self._networks[network].items():
                weight, saved = self._flat(name)
                for delta in deltas:
                    up, down = delta.up.flatten(1), delta.down.flatten(1)
                    torch.addmm(saved, up, down, alpha=delta.scale, out=weight)
            yield
        finally:
            for name in self._weights:
                weight, saved = self._flat(name)
                weight.copy_(saved)

    def _flat(self, name: str) -> tuple[Tensor, Tensor]:
        """A layer's weight and its copy, [out, in · kernel]."""
        return self._weights[name].flatten(1), self._saved[name].flatten(1)


def _with_adapters(unet: Any, networks: Sequence[Network]) -> Any:
    """A twin of the UNet with an adapter of diffusers for each network."""
    wrapped = twin(unet)
    with _several_adapters():
        for index, network in enumerate(networks):
            wrapped.add_adapter(_configuration(network), adapter_name=_name(index))
    _fill(wrapped, networks)
    return wrapped.requires_grad_(False).eval()


@contextmanager
def _several_adapters() -> Iterator[None]:
    """The warning of peft is about what is wanted here: several adapters in one model."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        yield


def _name(network: int) -> str:
    return f"network{network}"


def _configuration(network: Network) -> LoraConfig:
    """For networks of one rank and one scale in all layers."""
    first: LowRank = next(iter(network.values()))[0]
    rank = first.down.shape[0]
    return LoraConfig(r=rank, lora_alpha=first.scale * rank, target_modules=list(network), lora_dropout=0.0)


def _fill(wrapped: nn.Module, networks: Sequence[Network]) -> None:
    """Give peft's layers the networks' factors; the same memory."""
    layers = dict(wrapped.named_modules())
    prefix = "base_model.model." if any(name.startswith("base_model.model.") for name in layers) else ""
    for index, network in enumerate(networks):
        for name, (delta,) in network.items():
            layer: Any = layers[prefix + name]
            layer.lora_A[_name(index)].weight = nn.Parameter(delta.down, requires_grad=False)
            layer.lora_B[_name(index)].weight = nn.Parameter(delta.up, requires_grad=False)
