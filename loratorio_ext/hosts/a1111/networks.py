"""The WebUI's networks, taken over so that its weights carry none of the composed ones."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from loratorio_ext.hosts.a1111 import webui

# A tag cannot contain this character, so no tag finds a network that has it in its name.
_NOT_IN_A_TAG = ">"


@dataclass(frozen=True, eq=False)
class ComposedNetwork:
    """One network that takes part.

    Attributes:
        network: the WebUI's object (extensions-builtin/Lora/network.py, ``Network``).
        name: as the prompt names it.
        te: strength of its text encoder part.
        unet: strength of its UNet part.
        dyn: rank to which it is cut, or None.
        in_prompt: whether the prompt names it; otherwise it comes from the pool.
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
        """Whether it changes the text encoding."""
        return self.te != 0 and any(not is_unet_key(key) for key in self.network.modules)


def is_unet_key(key: str) -> bool:
    """Whether a layer belongs to the UNet (``assign_network_names_to_compvis_modules``)."""
    return key.startswith("diffusion_model_")


def network_of_pool(name: str, file: str) -> ComposedNetwork:
    """A network that no tag names, at strength 1."""
    network = webui.load_network(name, file)
    network.mentioned_name = name
    return ComposedNetwork(network, name, 1.0, 1.0, in_prompt=False)


def networks_of(kept: Collection[str]) -> list[ComposedNetwork]:
    """All but the ``kept`` networks of the WebUI's list.

    A network that is named twice would be merged twice, each time with the strengths of its last tag; here it
    gets twice those strengths.
    """
    found: dict[int, ComposedNetwork] = {}
    for network in webui.loaded_networks():
        if network.mentioned_name in kept or _NOT_IN_A_TAG in network.name:
            continue
        before = found.get(id(network))
        te, unet = float(network.te_multiplier), float(network.unet_multiplier)
        found[id(network)] = ComposedNetwork(
            network,
            network.mentioned_name,
            te + (before.te if before else 0.0),
            unet + (before.unet if before else 0.0),
            network.dyn_dim,
        )
    return list(found.values())


def take_over(networks: Sequence[ComposedNetwork]) -> None:
    """Take the networks out of the WebUI's list, so that it does not merge them.

    The WebUI's next activation finds them in memory. An empty stand-in is left of one that brought textual
    inversions, which that activation needs to forget them (``load_networks``), and of one that another
    extension has renamed: LoRA Block Weight keeps what ``start=`` and ``stop=`` say for the next generation
    unless it finds the network when they are due (scripts/lora_block_weight.py, ``denoiser_callback``).
    """
    loaded = webui.loaded_networks()
    taken = [one.network for one in networks if any(one.network is other for other in loaded)]
    remaining = [network for network in loaded if all(network is not one for one in taken)]
    for network in taken:
        webui.networks_in_memory()[network.name] = network
        if network.bundle_embeddings or network.name != network.mentioned_name:
            remaining.append(_without_layers(network))
    loaded[:] = remaining


def give_back(networks: Sequence[ComposedNetwork]) -> None:
    """Let the WebUI merge those of the prompt, as if they had not been taken."""
    take_over(networks)
    loaded = webui.loaded_networks()
    loaded[:] = [network for network in loaded if _NOT_IN_A_TAG not in network.name]
    for one in networks:
        if one.in_prompt:
            network = one.network
            network.te_multiplier, network.unet_multiplier, network.dyn_dim = one.te, one.unet, one.dyn
            loaded.append(network)


@contextmanager
def merged(networks: Sequence[ComposedNetwork]) -> Iterator[None]:
    """While this lasts, the WebUI merges these networks in addition to the kept ones."""
    loaded = webui.loaded_networks()
    before = list(loaded)
    with ExitStack() as strengths:
        for one in networks:
            strengths.enter_context(_strengths(one.network, one.te, one.unet, one.dyn))
        loaded.extend(one.network for one in networks)
        try:
            yield
        finally:
            loaded[:] = before


def unit_strength(one: ComposedNetwork) -> AbstractContextManager[None]:
    """While this lasts, the WebUI's calculations give what the network adds at strength 1."""
    return _strengths(one.network, 1.0, 1.0, one.dyn)


@contextmanager
def _strengths(network: Any, te: float, unet: float, dyn: int | None) -> Iterator[None]:
    before = network.te_multiplier, network.unet_multiplier, network.dyn_dim
    network.te_multiplier, network.unet_multiplier, network.dyn_dim = te, unet, dyn
    try:
        yield
    finally:
        network.te_multiplier, network.unet_multiplier, network.dyn_dim = before


def _without_layers(network: Any) -> Any:
    empty = copy.copy(network)
    empty.name = network.name + _NOT_IN_A_TAG
    empty.modules = {}
    return empty
