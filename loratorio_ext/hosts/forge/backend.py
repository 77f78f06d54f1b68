"""What Forge and its relatives have in different modules, and in different forms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from loratorio_ext.hosts.forge.option_functions import BeforeGuidance, OptionFunctions

Area = tuple[int, int, int, int]
"""(height, width, y, x) in latent pixels."""

Dicts = list[dict[str, Any]]
"""Conditions of one side of the guidance: a dict for each AND sub-prompt."""

PatchKey = tuple[str, float, float, bool]
"""File, strength, strength of the model, online: how Forge identifies the patches of one network."""

Patches = Mapping[str, Sequence[Sequence[Any]]]
"""Name of a parameter → [strength, patch, strength of the model, offset, function, …] of each patch."""


class Backend(Protocol):
    """Asked by everything in this package that has to do with patches, memory and evaluations."""

    def obstacle(self) -> str | None:
        """Why nothing can be composed with the model that is loaded now, or None."""

    def remark(self) -> str | None:
        """What cannot be composed with the model that is loaded now, though the rest can, or None."""

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
        """What one patch adds to a layer's weight, in float32, by the WebUI's calculation.

        ``patch``: as in ``Patches``.
        """

    # ------------------------------------------------ memory

    def collect_memory(self) -> None:
        """Give memory that nothing uses back to the device."""

    def free_memory(self, x: Tensor) -> float:
        """Bytes that are free where ``x`` is."""

    def total_memory(self, unet: Any) -> float:
        """Total bytes of the device that a UNet runs on."""

    def width(self, unet: Any) -> int:
        """Bytes of one number in a UNet's calculations."""

    def load(self, patcher: Any) -> None:
        """Let a patcher count as loaded, so that weights have its patches."""

    def load_for_sampling(self, unet: Any, x: Tensor) -> None:
        """Load a UNet that comes in while a sampler is running, as the sampler itself does it."""

    def loaded(self) -> Sequence[Any]:
        """The patchers that count as loaded; None for one that is gone."""

    # ------------------------------------------------ evaluations

    def dicts_of(self, text: Any, composition: Any) -> Dicts:
        """What an evaluation is made of: texts and, for each image, their places and weights."""

    def unweighted(self, text: Any) -> Dicts | None:
        """The same of the unconditional."""

    def evaluate(
        self,
        model: Any,
        cond: Dicts,
        uncond: Dicts | None,
        x: Tensor,
        sigma: Tensor,
        model_options: Mapping[str, Any],
    ) -> tuple[Tensor, Tensor]:
        """Denoised predictions of cond and uncond, [rows, C, H, W] each; zeros where one has no dicts."""

    def place_of(self, one: Mapping[str, Any], x: Tensor, sigma: Tensor) -> tuple[Area, Tensor] | None:
        """Where a dict of conditions acts and its weight [B, C, height, width]; None: not at this sigma."""

    def functions(self, before_guidance: BeforeGuidance) -> OptionFunctions:
        """Our functions around evaluations."""
