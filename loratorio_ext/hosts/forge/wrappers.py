"""Wrappers around model calls that other extensions have set, beside ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from loratorio_ext.hosts.forge import webui
from loratorio_ext.hosts.forge.composed_model import ApplyModel, ComposedModel


class LaterCalls:
    """A wrapper for calls that no evaluation of ours has foreseen: a composed model answers them.

    A wrapper of another extension stands around it, as it would around the model.

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


def hands_on(wrapper: webui.Wrapper, evaluate: Callable[[webui.Wrapper], object]) -> bool:
    """Whether a wrapper hands the model's calls on as they are, so that it acts on what they give.

    Other wrappers decide how the model is called: they cut the latent into tiles, or add conditions.

    Args:
        wrapper: the one that another extension has set.
        evaluate: makes an evaluation with the wrapper that it is given.
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
