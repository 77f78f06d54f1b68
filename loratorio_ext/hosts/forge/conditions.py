"""Which networks an encoded prompt has seen, and encoding it with Forge's text encoders."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from loratorio_ext.hosts.forge import webui
from loratorio_ext.hosts.forge.networks import ComposedNetwork, kept_clip_keys, text_encoders
from loratorio_ext.hosts.webuis.conditions import Conditions, ConditionStore


def text_key(networks: Sequence[ComposedNetwork], acting: Sequence[ComposedNetwork] = ()) -> Hashable | None:
    """Equal only where a prompt is encoded alike; None where the user wants no conditions kept."""
    if not webui.keeps_conds():
        return None
    return (webui.text_options(), kept_clip_keys(networks), tuple(one.clip_key for one in acting))


def encode_with(
    store: ConditionStore, p: Any, networks: Sequence[ComposedNetwork], acting: Sequence[ComposedNetwork]
) -> Conditions:
    """The prompts of the pass that ``p`` is in, with the text encoder parts of ``acting`` among all."""
    with text_encoders(networks, acting):
        return store.encode(p, text_key(networks, acting), webui.encode)
