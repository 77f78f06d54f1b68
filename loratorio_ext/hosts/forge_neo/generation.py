"""LoRAtorio's part of one generation in Forge Neo, which sets references while it encodes a prompt."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from typing import Any

from torch import Tensor

from loratorio_ext.hosts.forge.generation import ForgeGeneration
from loratorio_ext.hosts.forge.networks import ComposedNetwork
from loratorio_ext.hosts.forge_neo import webui
from loratorio_ext.hosts.webuis.adapter import ExtraNetworkData


class NeoGeneration(ForgeGeneration):
    """As in Forge; what is encoded again has the same references, and what has some is kept for no other."""

    def __init__(self, *arguments: Any) -> None:
        """As `ForgeGeneration`."""
        super().__init__(*arguments)
        self._start: Tensor | None = None
        self._this = object()

    def obstacle(self, p: Any) -> str | None:
        """Torch Compile is switched on and off later (process_batch): it counts when networks are bound."""
        return None if webui.is_compiled() else super().obstacle(p)

    def networks_of_prompt(self, data: ExtraNetworkData, kept: Collection[str]) -> Sequence[ComposedNetwork]:
        """Called before each batch's prompts are encoded."""
        found = webui.start_picture()  # None from the second batch on
        self._start = self._start if found is None else found
        return super().networks_of_prompt(data, kept)

    def text_key(
        self, networks: Sequence[ComposedNetwork], acting: Sequence[ComposedNetwork]
    ) -> Hashable | None:
        """Where references take part, equal within this generation alone."""
        key = super().text_key(networks, acting)
        if not webui.has_references():
            return key
        return (self._this, key, tuple(one.clip_key for one in acting))

    def encode(self, p: Any) -> tuple[Any, Any]:
        """With the picture that img2img begins with, which the first encoding has used up."""
        with webui.keeping_references(self._start):
            return super().encode(p)
