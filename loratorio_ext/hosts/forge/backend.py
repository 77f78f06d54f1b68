"""What Forge and its descendants keep in different forms: the patches of networks in a patcher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

PatchKey = tuple[str, float, float, bool]
"""File, strength, strength of the model, online: how Forge identifies the patches of one network."""

Patches = Mapping[str, Sequence[Sequence[Any]]]
"""Name of a parameter → [strength, patch, strength of the model, offset, function, …] of each patch."""


class Backend(Protocol):
    """Asked by everything in this package that has to do with patches, or with what cannot be composed."""

    def obstacle(self) -> str | None:
        """Why nothing can be composed with the model that is loaded now, or None."""

    def check_latents(self, x: Tensor) -> None:
        """ValueError where steps with noisy latents ``x`` cannot be composed."""

    def calls_rows_alone(self) -> bool:
        """Whether a model call may have the rows of one image alone: cond, uncond, or both."""

    def patches_in(self, patcher: Any) -> Mapping[PatchKey, Patches]:
        """The patches of a patcher, by network."""

    def put_patches(self, patcher: Any, patches: Mapping[PatchKey, Patches]) -> Any:
        """The patcher, which from here on has these patches and no others."""

    def load_again(self, patcher: Any) -> None:
        """Give the weights a patcher's patches, while a sampler is running."""

    def patches_of_file(self, file: str) -> tuple[Patches, Patches]:
        """(patches of the UNet, of the text encoders) of a file, at strength 1, by the WebUI's own loader."""

    def difference(self, layer: nn.Module, patch: Sequence[Any]) -> Tensor:
        """What one patch at strength 1 adds to a layer's weight, in float32, by the WebUI's calculation.

        ``patch``: as in ``Patches``; its strength is not read.
        """
