"""Our functions around reForge's evaluations, whose pre-CFG functions come when all is predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from loratorio_ext.hosts.forge.option_functions import MODIFIERS, BeforeGuidance, OptionFunctions, plain

EVALUATION = "sampler_calc_cond_batch_function"
"""The model option with the one function that makes an evaluation (samplers.py, sampling_function)."""

Evaluate = Callable[[Mapping[str, Any]], Any]


class LateFunctions(OptionFunctions):
    """Puts a function that evaluates into every copy of the options, by modifiers of conditions.

    The copy is the evaluation's own, so what is put into it is there for the functions after guidance too
    (PAG, SAG), and never in the UNet's options.
    """

    def __init__(self, before_guidance: BeforeGuidance, evaluate: Evaluate) -> None:
        """``evaluate``: the WebUI's own, as a function for that option."""
        super().__init__(before_guidance)
        self._evaluate = evaluate
        self._functions = ((MODIFIERS, plain(self._first)), (MODIFIERS, plain(self._last)))
        self._put: Evaluate | None = None

    def _first(self, evaluation: tuple[Any, ...]) -> tuple[Any, ...]:
        """The first modifier: from here on, others may evaluate."""
        return self._with_ours(evaluation)

    def _last(self, evaluation: tuple[Any, ...]) -> tuple[Any, ...]:
        """The last one: what other extensions evaluate in their modifiers is over."""
        self._modified = True
        return self._with_ours(evaluation)

    def _with_ours(self, evaluation: tuple[Any, ...]) -> tuple[Any, ...]:
        *before, options, seed = evaluation
        others = options.get(EVALUATION)
        if others is not None and others is self._put:
            return evaluation

        def evaluate(asked: Mapping[str, Any]) -> Any:
            return self._evaluation(asked, self._evaluate if others is None else others)

        self._put = evaluate
        return (*before, {**options, EVALUATION: evaluate}, seed)

    def _evaluation(self, asked: Mapping[str, Any], evaluate: Evaluate) -> Any:
        is_own, self._modified = self._modified, False
        options, before_guidance = asked["model_options"], self._before_guidance()
        names = ("model", "cond", "uncond", "input", "sigma", "model_options")
        evaluation = (asked["model"], *asked["conds"], asked["input"], asked["sigma"], options)
        if before_guidance is not None:
            evaluation = before_guidance(evaluation, is_own)
        found = dict(zip(names, evaluation, strict=True))
        if is_own:  # seen by the functions after guidance
            options.update(found["model_options"])
        return evaluate({**asked, **found, "conds": [found["cond"], found["uncond"]]})
