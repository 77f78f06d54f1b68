"""What the prompt's tags say of networks, from the WebUI's own parser (modules/extra_networks.py)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from loratorio_ext.networks.prompt import KINDS, composes

# A prompt may name thousands of networks that are not there.
_MOST_NAMES = 10

ExtraNetworkData = Mapping[str, Iterable[Any]]
"""Kind → ``ExtraNetworkParams`` of its tags, with ``items``, ``positional`` and ``named``."""


def tags_of_networks(data: ExtraNetworkData) -> Iterator[Any]:
    """The ``ExtraNetworkParams`` of all networks of the prompt."""
    for kind in KINDS:
        yield from (params for params in data.get(kind, ()) if params.positional)


def kept_names(data: ExtraNetworkData) -> tuple[set[str], list[str]]:
    """(names of networks whose tag says ``compose=off``, one sentence for each that says it wrongly)."""
    kept: set[str] = set()
    problems: list[str] = []
    for params in tags_of_networks(data):
        name = params.positional[0]
        composed, problem = composes(params.named)
        if not composed:
            kept.add(name)
        if problem is not None:
            problems.append(f"network {name[:80]!r}: {problem}")
    return kept, problems


def said_of_missing(data: ExtraNetworkData, loaded: Iterable[Any]) -> list[str]:
    """What is in a tag and the WebUI has loaded nothing for (unknown, or broken), in a few sentences."""
    known = {network.mentioned_name for network in loaded}
    names = dict.fromkeys(params.positional[0] for params in tags_of_networks(data))
    missing = [name for name in names if name not in known]
    said = [f"the WebUI has not loaded {name[:80]!r}, so it takes no part" for name in missing[:_MOST_NAMES]]
    more = len(missing) - len(said)
    return [*said, f"nor has it loaded {more} more networks of the prompt"] if more else said
