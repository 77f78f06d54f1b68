"""The WebUI's networks, taken over so that its weights carry none of the composed ones."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from loratorio_ext.hosts.a1111 import webui
from loratorio_ext.networks.tags import tag_from_items

# A tag cannot hold this sign, so no tag finds a network that has it in its name.
_NOT_IN_A_TAG = ">"


@dataclass(frozen=True)
class ComposedNetwork:
    """One network that takes part.

    Attributes:
        network: the WebUI's object (extensions-builtin/Lora/network.py, ``Network``).
        name: as the prompt names it.
        te: strength of its text encoder part.
        unet: strength of its UNet part.
        dyn: rank that it is cut to, or None.
        in_prompt: whether the prompt names it; else it comes from the pool.
    """

    network: Any
    name: str
    te: float
    unet: float
    dyn: int | None = None
    in_prompt: bool = True

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal only for the same file at the same strengths."""
        return (self.network.name, self.network.mtime, self.te, self.unet, self.dyn)

    @property
    def changes_text(self) -> bool:
        """Whether conditions look different with it."""
        return self.te != 0 and any(not is_unet_key(key) for key in self.network.modules)


def is_unet_key(key: str) -> bool:
    """Whether a layer belongs to the UNet (``assign_network_names_to_compvis_modules``)."""
    return key.startswith("diffusion_model_")


def kept_names(extra_network_data: Mapping[str, Iterable[Any]]) -> set[str]:
    """The names of networks whose tag says ``compose=off``."""
    kept = set()
    for params in _tags(extra_network_data):
        tag, _ = tag_from_items(params.items)
        if tag is not None and not tag.compose:
            kept.add(params.positional[0])
    return kept


def missing_names(extra_network_data: Mapping[str, Iterable[Any]]) -> list[str]:
    """Names in tags for which the WebUI has loaded nothing: unknown ones and broken files."""
    loaded = {network.mentioned_name for network in webui.loaded_networks()}
    names = (params.positional[0] for params in _tags(extra_network_data))
    return [name for name in dict.fromkeys(names) if name not in loaded]


def _tags(extra_network_data: Mapping[str, Iterable[Any]]) -> Iterator[Any]:
    for kind in ("lora", "lyco"):
        yield from (params for params in extra_network_data.get(kind, ()) if params.positional)


def take_over(kept: set[str]) -> list[ComposedNetwork]:
    """Take all but the ``kept`` networks out of the WebUI's list, so that it does not merge them.

    The WebUI's next activation finds them in memory. One that brought textual inversions leaves an empty
    stand-in, which that activation needs to forget them (``load_networks``).
    """
    loaded = webui.loaded_networks()
    taken: dict[int, ComposedNetwork] = {}
    remaining = []
    for network in loaded:
        if network.mentioned_name in kept:
            remaining.append(network)
            continue
        taken[id(network)] = ComposedNetwork(
            network,
            network.mentioned_name,
            float(network.te_multiplier),
            float(network.unet_multiplier),
            network.dyn_dim,
        )
    for one in taken.values():
        webui.networks_in_memory()[one.network.name] = one.network
        if one.network.bundle_embeddings:
            remaining.append(_without_layers(one.network))
    loaded[:] = remaining
    return list(taken.values())


def give_back(networks: Sequence[ComposedNetwork]) -> None:
    """Let the WebUI merge those of the prompt, as if they had not been taken."""
    loaded = webui.loaded_networks()
    loaded[:] = [network for network in loaded if _NOT_IN_A_TAG not in network.name]
    for one in networks:
        if one.in_prompt:
            _set_strengths(one)
            loaded.append(one.network)


@contextmanager
def merged(networks: Sequence[ComposedNetwork]) -> Iterator[None]:
    """While this lasts, the WebUI merges these networks beside the kept ones."""
    loaded = webui.loaded_networks()
    before = list(loaded)
    for one in networks:
        _set_strengths(one)
    loaded.extend(one.network for one in networks)
    try:
        yield
    finally:
        loaded[:] = before


@contextmanager
def unit_strength(one: ComposedNetwork) -> Iterator[None]:
    """While this lasts, the WebUI's calculations give what the network adds at strength 1."""
    network = one.network
    before = network.te_multiplier, network.unet_multiplier, network.dyn_dim
    network.te_multiplier, network.unet_multiplier, network.dyn_dim = 1.0, 1.0, one.dyn
    try:
        yield
    finally:
        network.te_multiplier, network.unet_multiplier, network.dyn_dim = before


def _set_strengths(one: ComposedNetwork) -> None:
    network = one.network
    network.te_multiplier, network.unet_multiplier, network.dyn_dim = one.te, one.unet, one.dyn


def _without_layers(network: Any) -> Any:
    empty = copy.copy(network)
    empty.name = network.name + _NOT_IN_A_TAG
    empty.modules = {}
    return empty
