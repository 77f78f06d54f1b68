"""A WebUI in which nothing can be composed: every generation says so, and is left alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from loratorio_ext.hosts.webuis.comments import say
from loratorio_ext.hosts.webuis.tags import ExtraNetworkData
from loratorio_ext.server.history import PassRecord


class Unsupported:
    """Stands in the place of a generation's part."""

    passes: tuple[PassRecord, ...] = ()

    def __init__(self, obstacle: str) -> None:
        """``obstacle``: what is in the way."""
        self._obstacle = obstacle

    def networks_activated(self, p: Any, data: ExtraNetworkData) -> None:
        """Say it once."""
        say(
            p,
            f"{self._obstacle}, so the networks act merged, the usual way; LoRAtorio composes in "
            "AUTOMATIC1111's WebUI and in Forge",
        )

    def before_encoding(self, p: Any) -> None:
        """Nothing."""

    def before_sampling(self, p: Any, x: Tensor) -> None:
        """Nothing."""

    def sampled(self, p: Any) -> None:
        """Nothing."""

    def finished(self, p: Any) -> None:
        """Nothing."""
