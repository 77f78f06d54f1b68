"""Networks as the tags ask for them, from files that are read once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

from loratorio_ext.networks.blocks import BlockWeights, block_of
from loratorio_ext.networks.files import (
    HashReader,
    KeyMap,
    Network,
    NetworkFolder,
    TriggerReader,
    UnknownNetworkError,
    load_network,
)
from loratorio_ext.networks.files.scale import sidecar
from loratorio_ext.networks.pool import choose_pool, pool_by_words
from loratorio_ext.networks.prompt import Tag
from loratorio_ext.networks.router import Delta, LowRank
from loratorio_ext.settings import Settings

TaggedNetwork = tuple[Tag, Network]
"""A network, and the tag that names it and says its strengths."""


class NetworkCache:
    """The networks of one host, read again only when a file, or what lies beside it, has another time."""

    def __init__(self, keys: KeyMap) -> None:
        self._keys = keys
        self._triggers, self._hashes = TriggerReader(), HashReader()
        blocks = ((layer.name, block_of(key)) for key, layer in keys.items())
        self._blocks = {layer: block for layer, block in blocks if block is not None}
        self._loaded: dict[Path, tuple[tuple[int, ...], Network]] = {}

    def load(self, tag: Tag, folder: NetworkFolder) -> Network:
        """The network that `tag` names, from `folder`, cut to the tag's rank.

        Raises UnknownNetworkError (a ValueError with near matches) and NetworkFileError (a ValueError that
        says what is wrong with the file).
        """
        path = folder.find(tag.name)
        beside = sidecar(path)
        changed = tuple(each.stat().st_mtime_ns for each in (path, beside) if each is not None)
        known = self._loaded.get(path)
        if known is None or known[0] != changed:
            known = self._loaded[path] = changed, load_network(path, self._keys)
        return known[1] if tag.dyn is None else _with_rank(known[1], tag.dyn)

    def load_all(
        self, tags: Sequence[Tag], settings: Settings, text: str, folder: NetworkFolder | None
    ) -> tuple[list[TaggedNetwork], list[str]]:
        """(the networks of the tags, and at strength 1 those of the pool that no tag names; warnings).

        ``text``: the prompts, without tags, by whose words networks of the pool may be triggered. Raises as
        `load`, and UnknownNetworkError where a part of the pool means no network.
        """
        if folder is None:
            return [], []
        tags, repeated = folder.one_per_file(tags)
        names, unknown = choose_pool(settings.pool, folder)
        if unknown:
            reason = f"the pool has it, but no network in {folder.folder} matches"
            raise UnknownNetworkError(unknown[0], reason)
        tagged = {folder.find(tag.name) for tag in tags}
        names = [name for name in names if folder.find(name) not in tagged]
        if settings.pool_by == "words":
            reader = self._triggers
            names = pool_by_words(
                names, text, settings.top_k, lambda name: reader.of(folder.find(name)).meant
            )
        tags += map(Tag, names)
        loaded = [(tag, self.load(tag, folder)) for tag in tags]
        networks = [(tag, self._weighed(tag, network)) for tag, network in loaded]
        told = [f"Network {tag.name!r}: {note}." for tag, network in networks for note in network.notes]
        told += [
            f"Network {tag.name!r}: {len(network.unmatched)} of its keys fit no layer of this model, "
            f"such as {network.unmatched[0]!r}."
            for tag, network in networks
            if network.unmatched
        ]
        return networks, [*map(str, repeated), *told]

    def hashes(self, tags: Iterable[Tag], folder: NetworkFolder | None) -> dict[str, str]:
        """Name → `HashReader.of` its file, for the networks of tags; raises as `load`."""
        found = {} if folder is None else {tag.name: self._hashes.of(folder.find(tag.name)) for tag in tags}
        return {name: digits for name, digits in found.items() if digits}

    def _weighed(self, tag: Tag, network: Network) -> Network:
        """The network with the weights of its blocks that the tag says; layers of weight 0 are left out."""
        if not tag.own.blocks:
            return network
        said = BlockWeights.parse(tag.own.blocks)
        of_layers = {name: self._blocks.get(name) for name in network.layers}
        weights = {name: 1.0 if block is None else said.weights[block] for name, block in of_layers.items()}
        layers = {
            name: tuple(_times(weights[name], delta) for delta in deltas)
            for name, deltas in network.layers.items()
            if weights[name] != 0
        }
        unnamed = sorted({block for block in of_layers.values() if block in said.unnamed})
        note = f"lbw={tag.own.blocks} says nothing of its blocks {', '.join(unnamed)}, so they do not act"
        notes = (*network.notes, note) if unnamed else network.notes
        return dataclasses.replace(network, layers=layers, notes=notes)


def _times(weight: float, delta: Delta) -> Delta:
    if isinstance(delta, LowRank) or delta.bias is None:
        return dataclasses.replace(delta, scale=delta.scale * weight)
    return dataclasses.replace(delta, scale=delta.scale * weight, bias=delta.bias * weight)


def _with_rank(network: Network, rank: int) -> Network:
    """`network` with only the first `rank` components of its low-rank deltas, scales kept.

    The WebUI's third tag argument, `dyn`; like there, deltas with a Tucker core and dense ones stay whole.
    """

    def cut(delta: Delta) -> Delta:
        if not isinstance(delta, LowRank) or delta.mid is not None or delta.down.shape[0] <= rank:
            return delta
        return dataclasses.replace(delta, down=delta.down[:rank], up=delta.up[:, :rank])

    layers = {name: tuple(cut(delta) for delta in deltas) for name, deltas in network.layers.items()}
    return dataclasses.replace(network, layers=layers)
