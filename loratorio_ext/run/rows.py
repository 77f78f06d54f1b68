"""The rows of a model call: what each batch row of a step is predicted with, and in which order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from loratorio_ext.run.schema import Described

# An int is the index of a network among the composed ones (in the order of the tags, without kept networks).
# "base": none of the composed networks. "merged": all of them at once, the usual way.
Source = int | Literal["base", "merged"]
Branch = Literal["cond", "uncond"]

RowStrengths = tuple[float, ...]
"""What the router takes for one row: the strength of each network, in the order of the generation's."""


@dataclass(frozen=True)
class Row:
    """One row of a model call.

    Attributes:
        source: which of the composed networks act in the row. Networks that are kept merged act in every row.
        branch: the conditional or the unconditional prediction.
        index: the conditional row r for "cond", the image b for "uncond".
    """

    source: Source
    branch: Branch
    index: int


@dataclass(frozen=True)
class NetworkUse:
    """A network as one generation uses it.

    Attributes:
        name: the name for the report; need not be unique.
        strength: the UNet strength: any finite number, 0 included.
        compose: False keeps the network merged in every row (acceleration networks, sliders).
    """

    name: Annotated[str, Described("name in the prompt's tag")]
    strength: Annotated[float, Described("UNet strength")]
    compose: Annotated[bool, Described("false: kept merged in every row")] = True


class Strengths:
    """The strengths of a row, one for each network in the order of ``uses``."""

    def __init__(self, uses: Sequence[NetworkUse]) -> None:
        """Check the strengths once.

        Raises:
            ValueError: a strength is not a finite number.
        """
        for use in uses:
            if isinstance(use.strength, bool) or not math.isfinite(use.strength):
                raise ValueError(
                    f"the strength of network {use.name!r} is {use.strength!r}; it must be a finite number, "
                    "such as 0.8: correct the number in its tag"
                )
        kept = tuple(0.0 if use.compose else float(use.strength) for use in uses)
        merged = tuple(float(use.strength) for use in uses)
        self._of: dict[Source, RowStrengths] = {"base": kept, "merged": merged}
        composed = (place for place, use in enumerate(uses) if use.compose)
        for network, place in enumerate(composed):
            self._of[network] = (*kept[:place], merged[place], *kept[place + 1 :])

    def of(self, source: Source) -> RowStrengths:
        """Strengths of the networks in a row with this source; [len(uses)]."""
        return self._of[source]
