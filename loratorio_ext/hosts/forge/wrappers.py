"""Our wrappers around Forge's model calls, beside other extensions' wrappers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from loratorio_ext.hosts.forge import webui
from loratorio_ext.hosts.forge.backend import Area
from loratorio_ext.hosts.forge.further_calls import ApplyModel, ComposedModel
from loratorio_ext.run import Branch


class PassthroughWrapper:
    """A wrapper for calls that none of our evaluations answers: a composed model answers them.

    Another extension's wrapper is called around it, as it would be around the model.

    Attributes:
        composed: the composed model.
    """

    def __init__(self, composed: ComposedModel, others: webui.Wrapper | None) -> None:
        """``others``: the wrapper that was there before."""
        self.composed = composed
        self._others = others

    def __call__(self, apply_model: ApplyModel, call: Mapping[str, Any]) -> Tensor:
        """Signature of Forge's model_function_wrapper."""

        def composed(x: Tensor, sigma: Tensor, **c: Any) -> Tensor:
            return self.composed.predict(apply_model, x, sigma, c)

        if self._others is not None:
            return self._others(composed, call)
        return composed(call["input"], call["timestep"], **call["c"])


class SubstituteWrapper:
    """A wrapper that answers one evaluation in place of the model, and leaves further calls to another one.

    After a pre-CFG function Forge evaluates; the chunks of that evaluation get the composed predictions
    instead of a model call.
    """

    def __init__(
        self,
        predictions: Mapping[Branch, Tensor | None],
        evaluation: tuple[Any, ...],
        areas: Sequence[Area],
        further: PassthroughWrapper,
        around: webui.Wrapper | None,
    ) -> None:
        """Prepare the answer.

        Args:
            predictions: composed, [B, C, H, W]; "uncond" is None without guidance.
            evaluation: (model, cond, uncond, x, timestep, model_options) that Forge will make.
            areas: where its dicts act, of those that act at this sigma.
            further: answers the calls after this evaluation.
            around: another extension's wrapper that is to see the composed predictions.
        """
        self._x = evaluation[3]
        self._predictions = (predictions["cond"], predictions["uncond"])  # as cond_or_uncond numbers them
        self._chunks = len(areas)
        self._areas = tuple(dict.fromkeys(areas))
        self._further = further
        self._around = around

    def __call__(self, apply_model: ApplyModel, call: Mapping[str, Any]) -> Tensor:
        """Signature of Forge's model_function_wrapper."""
        answer = self._answer(call)
        if answer is None:
            return self._further(apply_model, call)
        if self._around is None:
            return answer

        def answered(x: Tensor, sigma: Tensor, **c: Any) -> Tensor:
            if is_as_given(call, x, sigma, c):
                return answer
            return self._further.composed.predict(apply_model, x, sigma, c)

        return self._around(answered, call)

    def _answer(self, call: Mapping[str, Any]) -> Tensor | None:
        """The composed predictions of the call's chunks; None where they are of none of our evaluations."""
        branches, found = call["cond_or_uncond"], []
        for branch, chunk in zip(branches, call["input"].chunk(len(branches)), strict=True):
            area, prediction = self._area(chunk), self._predictions[branch]
            if self._chunks <= 0 or area is None or prediction is None:
                return None
            height, width, y, x = area
            found.append(prediction[:, :, y : y + height, x : x + width])
        self._chunks -= len(branches)
        return torch.cat(found).to(call["input"])

    def _area(self, chunk: Tensor) -> Area | None:
        """Which part of the latent a chunk is; recognised by its content where conditions have areas."""
        if len(self._areas) == 1:
            return self._areas[0]
        for height, width, y, x in self._areas:
            if torch.equal(chunk, self._x[:, :, y : y + height, x : x + width]):
                return height, width, y, x
        return None


def hands_on(wrapper: webui.Wrapper, evaluate: Callable[[webui.Wrapper], object]) -> bool:
    """Whether a wrapper passes model calls on unchanged, so that it only acts on their results.

    Other wrappers decide how the model is called: they cut the latent into tiles, or add conditions.

    Args:
        wrapper: the one that another extension has set.
        evaluate: makes an evaluation with the given wrapper.
    """
    kept: list[bool] = []

    def watching(apply_model: ApplyModel, call: Mapping[str, Any]) -> Tensor:
        asked: list[bool] = []

        def watched(x: Tensor, sigma: Tensor, **c: Any) -> Tensor:
            asked.append(is_as_given(call, x, sigma, c))
            return apply_model(x, sigma, **c)

        denoised = wrapper(watched, call)
        kept.append(asked == [True])
        return denoised

    evaluate(watching)
    return all(kept)


def is_as_given(call: Mapping[str, Any], x: Tensor, sigma: Tensor, c: Mapping[str, Any]) -> bool:
    """Whether a wrapper calls the model with what it was given."""
    given = call["c"]
    return (
        _same(call["input"], x)
        and _same(call["timestep"], sigma)
        and given.keys() == c.keys()
        and all(_same(given[name], c[name]) for name in given)
    )


def _same(given: Any, asked: Any) -> bool:
    if given is asked:
        return True
    if type(given) is not type(asked):
        return False
    if isinstance(given, Tensor):
        return given.shape == asked.shape and torch.equal(given, asked)
    if isinstance(given, dict):
        return given.keys() == asked.keys() and all(_same(given[name], asked[name]) for name in given)
    if isinstance(given, list | tuple):
        return len(given) == len(asked) and all(map(_same, given, asked))
    return isinstance(given, int | float | str) and bool(given == asked)
