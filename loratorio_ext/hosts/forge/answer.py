"""Handing composed predictions to Forge, which goes on to guide by them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from loratorio_ext.hosts.forge import webui
from loratorio_ext.hosts.forge.composed_model import ApplyModel
from loratorio_ext.hosts.forge.wrappers import LaterCalls, is_as_given


class OneAnswer:
    """A wrapper around model calls that answers one evaluation, and leaves all later calls to another one.

    After a pre-CFG function Forge evaluates; the chunks of that evaluation get the composed predictions
    instead of a model call.
    """

    def __init__(
        self,
        cond: Tensor,
        uncond: Tensor | None,
        parts: tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]] | None],
        x: Tensor,
        sigma: Tensor,
        later: LaterCalls,
        around: webui.Wrapper | None,
    ) -> None:
        """Prepare the answer to Forge's evaluation of ``parts`` (the conditional and unconditional dicts).

        Args:
            cond: composed predictions [B, C, H, W].
            uncond: likewise; None without guidance.
            parts: what Forge will evaluate.
            x: noisy latents [B, C, H, W].
            sigma: noise level of each image.
            later: answers the calls after this evaluation.
            around: a wrapper of another extension that is to see the composed predictions.
        """
        self._predictions = (cond, cond if uncond is None else uncond)  # as cond_or_uncond numbers them
        self._x = x
        found = [webui.area_of(one, x, sigma) for half in parts for one in half or ()]
        areas = [area for area in found if area is not None]
        self._chunks = len(areas)
        self._areas = tuple(dict.fromkeys(areas))
        self._later = later
        self._around = around

    def __call__(self, apply_model: ApplyModel, call: Mapping[str, Any]) -> Tensor:
        """Signature of Forge's model_function_wrapper."""
        halves = call["cond_or_uncond"]
        areas = [self._area(chunk) for chunk in call["input"].chunk(len(halves))]
        if self._chunks <= 0 or None in areas:
            return self._later(apply_model, call)
        self._chunks -= len(halves)
        found = [self._answer(area, half) for area, half in zip(areas, halves, strict=True) if area]
        answer = torch.cat(found).to(call["input"])
        if self._around is None:
            return answer

        def answered(x: Tensor, sigma: Tensor, **c: Any) -> Tensor:
            if is_as_given(call, x, sigma, c):
                return answer
            return self._later.composed.predict(apply_model, x, sigma, c)

        return self._around(answered, call)

    def _answer(self, area: webui.Area, half: int) -> Tensor:
        height, width, y, x = area
        return self._predictions[half][:, :, y : y + height, x : x + width]

    def _area(self, chunk: Tensor) -> webui.Area | None:
        """Which part of the latent a chunk is; told by its content where conditions have areas."""
        if len(self._areas) == 1:
            return self._areas[0]
        for height, width, y, x in self._areas:
            if torch.equal(chunk, self._x[:, :, y : y + height, x : x + width]):
                return height, width, y, x
        return None
