"""Which networks an encoded prompt has seen, and encoding it with the WebUI's text encoders."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from loratorio_ext.hosts.a1111 import webui
from loratorio_ext.hosts.a1111.networks import ComposedNetwork, merged
from loratorio_ext.hosts.webuis.conditions import Conditions, ConditionStore


def text_key(networks: Sequence[ComposedNetwork]) -> Hashable | None:
    """Equal only where a prompt is encoded alike; None where the user wants no conditions kept."""
    if not webui.keeps_conds():
        return None
    kept = tuple((one.name, one.mtime, one.te_multiplier, one.dyn_dim) for one in webui.loaded_networks())
    return (webui.text_options(), kept, tuple(one.identity for one in networks))


def encode_with(store: ConditionStore, p: Any, networks: Sequence[ComposedNetwork]) -> Conditions:
    """The prompts of the pass that ``p`` is in, with the text encoder parts of these networks."""
    key = text_key(networks)
    with merged(networks):
        return store.encode(p, key, webui.encode)
