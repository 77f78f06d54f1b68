"""Our functions around Forge's evaluations, and which of these is the denoiser's own."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Any

PRE_CFG = "sampler_pre_cfg_function"
"""The model option with the list of functions that are called before an evaluation."""

MODIFIERS = "conditioning_modifiers"
"""The model option with the list of functions that are called first in the denoiser's own evaluation."""

PreCfgArguments = tuple[Any, ...]
"""(model, cond, uncond, x, sigma, model_options)."""

BeforeGuidance = Callable[[PreCfgArguments, bool], PreCfgArguments]
"""(an evaluation, whether it is the denoiser's own) → the evaluation that Forge makes."""


class OptionFunctions:
    """Puts three plain functions into a UNet's options: Forge deep-copies those, which keeps functions as is.

    Other extensions evaluate in functions of their own, too: in conditioning modifiers and in pre-CFG
    functions (for their order see sampling_function.py, sampling_function and sampling_function_inner). The
    denoiser's own evaluation is the one that comes after the last modifier and is inside no other.
    """

    def __init__(self, before_guidance: BeforeGuidance) -> None:
        """``before_guidance``: a bound method; once its object is gone, the functions do nothing."""
        self._before_guidance = weakref.WeakMethod(before_guidance)
        self._modified = False
        self._depth = 0
        self._functions: Sequence[tuple[str, Callable[..., Any]]] = (
            (PRE_CFG, plain(self._open)),
            (PRE_CFG, plain(self._close)),
            (MODIFIERS, plain(self._conditions_modified)),
        )

    def put_into(self, unet: Any) -> None:
        """Put them into a clone's options, once: a clone of one of ours has them already."""
        for option, function in self._functions:
            functions = unet.model_options.setdefault(option, [])
            if function not in functions:
                functions.append(function)
        self.stand_in_place(unet)

    def take_out(self, unet: Any) -> None:
        """Take them out of a UNet's options, as if they had never been there."""
        for option, function in self._functions:
            functions = unet.model_options.get(option, [])
            if function in functions:
                functions.remove(function)
                if not functions:
                    del unet.model_options[option]

    def are_in(self, unet: Any) -> bool:
        """Whether a UNet has them."""
        return all(function in unet.model_options.get(option, ()) for option, function in self._functions)

    def stand_in_place(self, unet: Any) -> None:
        """Move ours to first and last place: other extensions change conditions, and may evaluate too."""
        (_, first), *_ = self._functions
        for option, function in self._functions:
            functions = unet.model_options.get(option, [])
            if function in functions:
                functions.remove(function)
                functions.insert(0 if function is first else len(functions), function)

    def begin(self) -> None:
        """The denoiser is about to evaluate."""
        self._modified, self._depth = False, 0

    def _conditions_modified(self, evaluation: tuple[Any, ...]) -> tuple[Any, ...]:
        """The last modifier: what other extensions evaluate in their modifiers is over."""
        self._modified = True
        return evaluation

    def _open(self, evaluation: PreCfgArguments) -> PreCfgArguments:
        """The first pre-CFG function: what comes until the last one is inside this evaluation."""
        self._depth += 1
        return evaluation

    def _close(self, evaluation: PreCfgArguments) -> PreCfgArguments:
        """The last one."""
        is_own = self._modified and self._depth == 1
        self._depth -= 1
        if is_own:
            self._modified = False
        before_guidance = self._before_guidance()
        return evaluation if before_guidance is None else before_guidance(evaluation, is_own)


def plain(method: Callable[[tuple[Any, ...]], tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
    """A function for a UNet's options, which are deep-copied."""

    def function(*evaluation: Any) -> tuple[Any, ...]:
        return method(evaluation)

    return function
