"""A loaded network: its deltas by layer name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from loratorio_ext.networks.delta import Delta

Component = Literal["unet", "text_encoder", "text_encoder_2"]


@dataclass(frozen=True, eq=False)
class Network:
    """One network as read from a file.

    name: the name that tags use. layers: layer name ("unet.down_blocks.0...to_q") → its deltas, which add up.
    path: the file, if there is one. metadata: the file's header, hostile text. unmatched: keys of the file
    that no layer of this model has.
    """

    name: str
    layers: Mapping[str, tuple[Delta, ...]]
    path: Path | None = None
    metadata: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    unmatched: tuple[str, ...] = ()

    def part(self, component: Component) -> dict[str, tuple[Delta, ...]]:
        """The layers of one component, names kept; "text_encoder" also gives those of "text_encoder_2".

        Raises ValueError for an unknown component.
        """
        prefixes = {
            "unet": ("unet.",),
            "text_encoder": ("text_encoder.", "text_encoder_2."),
            "text_encoder_2": ("text_encoder_2.",),
        }.get(component)
        if prefixes is None:
            raise ValueError(
                f"component is {component!r}; it must be 'unet', 'text_encoder' or 'text_encoder_2'"
            )
        return {name: deltas for name, deltas in self.layers.items() if name.startswith(prefixes)}
