"""Telling people which networks fit a model in part only, or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from loratorio_ext.networks.router import Delta

_MOST_NAMES = 10


class NetworkLike(Protocol):
    """A network that takes part."""

    @property
    def name(self) -> str:
        """As the prompt names it."""

    @property
    def changes_text(self) -> bool:
        """Whether conditions look different with it."""


AnyNetwork = TypeVar("AnyNetwork", bound=NetworkLike)


@dataclass(frozen=True)
class LayersOfNetwork:
    """The UNet layers of one network.

    Attributes:
        deltas: layer name → what the network adds there at strength 1.
        misfits: one sentence for each layer that had to be left out.
    """

    deltas: Mapping[str, tuple[Delta, ...]]
    misfits: tuple[str, ...]


def problems_of_layers(networks: Mapping[AnyNetwork, LayersOfNetwork]) -> tuple[str, ...]:
    """Sentences about networks whose layers this model has in part only, or not at all."""
    partly = [
        f"network {one.name!r}: {len(found.misfits)} layers are left out ({found.misfits[0]})"
        for one, found in networks.items()
        if found.misfits and (found.deltas or one.changes_text)
    ]
    never = [one.name for one, found in networks.items() if not found.deltas and not one.changes_text]
    return (*partly, *([_left_out(never)] if never else []))


def _left_out(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_MOST_NAMES])
    if len(names) > _MOST_NAMES:
        shown += f" and {len(names) - _MOST_NAMES} more"
    return (
        f"no layer of this model is changed by {shown}, so they take no part (made for another architecture, "
        "or are all their blocks set to 0?)"
    )
