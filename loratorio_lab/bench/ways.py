"""The ways to get the same predictions: the base's rows, and every network's by that network alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor

from loratorio_ext.networks.router import Router
from loratorio_lab.bench.networks import Network
from loratorio_lab.bench.peers import Merging, mixed_batch, set_adapters
from loratorio_lab.bench.shapes import Rows


@dataclass(frozen=True, eq=False)
class Setup:
    """A UNet with networks, and what is to be predicted.

    Attributes:
        unet: the UNet.
        networks: the networks, each used at strength 1.
        rows: the rows of one source.
        router: ours, for these networks.
    """

    unet: Any
    networks: Sequence[Network]
    rows: Rows
    router: Router

    @classmethod
    def of(cls, unet: Any, networks: Sequence[Network], rows: Rows) -> Setup:
        """With a router of its own."""
        return cls(unet, networks, rows, Router(dict(unet.named_modules()), networks))

    @property
    def sources(self) -> int:
        """The base and every network."""
        return 1 + len(self.networks)

    def all_rows(self) -> Rows:
        """The rows of every source, the base's first."""
        index = torch.arange(len(self.rows)).repeat(self.sources).to(self.rows.latents.device)
        return self.rows.select(index)

    def strengths(self, source: int) -> tuple[float, ...]:
        """The router's strengths of a row; source 0 is the base, i is network i - 1."""
        return tuple(float(source == 1 + network) for network in range(len(self.networks)))


Way = Callable[[], Tensor]
"""Predicts every row of every source, [sources · rows, C, H, W]."""


def _plain(setup: Setup) -> Way:
    """The UNet alone: the base's predictions, as often as there are sources."""
    rows = setup.all_rows()
    return lambda: rows.predict(setup.unet)


def _at_once(setup: Setup) -> Way:
    rows = setup.all_rows()
    table = [setup.strengths(source) for source in range(setup.sources) for _ in range(len(setup.rows))]

    def way() -> Tensor:
        with setup.router.routing(table):
            return rows.predict(setup.unet)

    return way


def _in_sequence(setup: Setup, context: Callable[[int], AbstractContextManager[object]]) -> Way:
    """One call for each source, inside its context."""

    def way() -> Tensor:
        parts = []
        for source in range(setup.sources):
            with context(source):
                parts.append(setup.rows.predict(setup.unet))
        return torch.cat(parts)

    return way


def _plain_in_sequence(setup: Setup) -> Way:
    return _in_sequence(setup, lambda source: nullcontext())


def _one_by_one(setup: Setup) -> Way:
    # Not the setup's router: what both hold together might be more than one keeps.
    router = Router(dict(setup.unet.named_modules()), setup.networks)
    return _in_sequence(setup, lambda source: router.routing([setup.strengths(source)] * len(setup.rows)))


def _merging(setup: Setup) -> Way:
    merging = Merging(setup.unet, setup.networks)
    return _in_sequence(setup, lambda source: merging.only(source - 1) if source else nullcontext())


def _set_adapters(setup: Setup) -> Way:
    return set_adapters(setup.unet, setup.networks, setup.rows)


def _mixed_batch(setup: Setup) -> Way:
    return mixed_batch(setup.unet, setup.networks, setup.all_rows())


PLAIN: Final = "plain"
OURS: Final = "router"

WAYS: Final[Mapping[str, Callable[[Setup], Way]]] = MappingProxyType(
    {
        PLAIN: _plain,
        OURS: _at_once,
        "plain-in-sequence": _plain_in_sequence,
        "router-in-sequence": _one_by_one,
        "peft-set-adapters": _set_adapters,
        "peft-mixed-batch": _mixed_batch,
        "merge-and-back": _merging,
    }
)
"""By name; the two plain ones give the base's prediction in every row."""

LABELS: Final[Mapping[str, str]] = MappingProxyType(
    {
        PLAIN: "plain UNet, one call",
        OURS: "our router, one call",
        "plain-in-sequence": "plain UNet, a call for each source",
        "router-in-sequence": "our router, a call for each source",
        "peft-set-adapters": "diffusers' set_adapters, a call for each source",
        "peft-mixed-batch": "peft's mixed batch (adapter_names), one call",
        "merge-and-back": "merge into the weights and back, a call for each source",
    }
)


def is_plain(name: str) -> bool:
    """Whether a way leaves the networks out."""
    return name.startswith("plain")


def calls(name: str, setup: Setup) -> int:
    """Calls of the UNet that a way makes."""
    return 1 if name in (PLAIN, OURS, "peft-mixed-batch") else setup.sources
