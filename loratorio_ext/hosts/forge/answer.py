"""Handing composed predictions to Forge, which goes on to guide by them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from loratorio_ext.hosts.forge import webui


class OneAnswer:
    """A function around model calls that answers one evaluation, and lets all later calls through.

    After a pre-CFG function Forge evaluates; the chunks of that evaluation get the composed predictions
    instead of a model call. Whoever evaluates again afterwards (PAG, SAG) gets the real model, inside the
    wrapper that was there before.
    """

    def __init__(
        self,
        cond: Tensor,
        uncond: Tensor | None,
        parts: tuple[Sequence[Mapping[str, Any]], Sequence[Mapping[str, Any]] | None],
        x: Tensor,
        sigma: Tensor,
        model_options: Mapping[str, Any],
    ) -> None:
        """Prepare the answer to ``calc_cond_uncond_batch(model, *parts, x, sigma, model_options)``.

        cond, uncond: composed predictions [B, C, H, W].
        """
        self._predictions = (cond, cond if uncond is None else uncond)  # as cond_or_uncond numbers them
        self._x = x
        found = [webui.area_of(one, x, sigma) for half in parts for one in half or ()]
        areas = [area for area in found if area is not None]
        self._chunks = len(areas)
        self._areas = tuple(dict.fromkeys(areas))
        self._before = model_options.get(webui.WRAPPER)

    def __call__(self, apply_model: Callable[..., Tensor], call: Mapping[str, Any]) -> Tensor:
        """Signature of Forge's model_function_wrapper."""
        if self._chunks > 0:
            halves = call["cond_or_uncond"]
            self._chunks -= len(halves)
            inputs = call["input"].chunk(len(halves))
            return torch.cat([self._answer(*one) for one in zip(inputs, halves, strict=True)])
        if self._before is not None:
            before: Callable[..., Tensor] = self._before
            return before(apply_model, call)
        return apply_model(call["input"], call["timestep"], **call["c"])

    def _answer(self, chunk: Tensor, half: int) -> Tensor:
        height, width, y, x = self._area(chunk)
        answer = self._predictions[half][:, :, y : y + height, x : x + width]
        return answer.to(chunk)

    def _area(self, chunk: Tensor) -> webui.Area:
        """Which part of the latent a chunk is; told by its content where conditions have areas."""
        if len(self._areas) == 1:
            return self._areas[0]
        for height, width, y, x in self._areas:
            if torch.equal(chunk, self._x[:, :, y : y + height, x : x + width]):
                return height, width, y, x
        raise ValueError("a part of the latent is evaluated that no condition asked for")
