"""One sampling pass (the first, hires, one after the refiner): networks bound to the model, and their run."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

from loratorio_ext.hosts.webuis.adapter import Network, UnetLayers
from loratorio_ext.hosts.webuis.conditions import Conditions
from loratorio_ext.networks.router import Router
from loratorio_ext.run import Run, Source

_MOST_NAMES = 10


@dataclass(frozen=True, eq=False)
class SamplingPass(Generic[Network]):
    """Networks bound to the model that is loaded.

    Attributes:
        run: the engine's; its networks are those of ``layers``.
        router: gives each row of a model call its networks.
        layers: what each network adds to the UNet.
        conditions: of the sources whose conditions differ from the base's.
        model: what the networks are bound to; see `WebuiServices.model_identity`.
    """

    run: Run
    router: Router
    layers: Mapping[Network, UnetLayers]
    conditions: Mapping[Source, Conditions]
    model: Hashable


def unmatched_layers(layers: Mapping[Network, UnetLayers]) -> tuple[str, ...]:
    """Sentences about networks whose layers this model has only in part, or not at all."""
    partly = [
        f"network {one.name!r}: {len(found.unmatched)} layers are left out ({found.unmatched[0]})"
        for one, found in layers.items()
        if found.unmatched and (found.deltas or one.changes_text)
    ]
    never = [one.name for one, found in layers.items() if not found.deltas and not one.changes_text]
    return (*partly, *([_left_out(never)] if never else []))


def _left_out(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_MOST_NAMES])
    if len(names) > _MOST_NAMES:
        shown += f" and {len(names) - _MOST_NAMES} more"
    part = "they take" if len(names) > 1 else "it takes"
    return (
        f"no layer of this model is changed by {shown}, so {part} no part (made for another model, of a kind "
        "that this WebUI does not load, or with all blocks at 0)"
    )
