"""What the prompt's tags say of networks, from the WebUI's own parser (modules/extra_networks.py)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from loratorio_ext.networks.tags import KINDS, composes

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
    """One sentence for each name in a tag for which the WebUI has loaded nothing (unknown, or broken)."""
    known = {network.mentioned_name for network in loaded}
    names = dict.fromkeys(params.positional[0] for params in tags_of_networks(data))
    return [
        f"the WebUI has not loaded {name[:80]!r}, so it takes no part" for name in names if name not in known
    ]
