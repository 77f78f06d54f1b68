"""The method's own arithmetic, without the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from loratorio_ext.method import compose
from loratorio_ext.run import NetworkUse, Row, Run
from loratorio_lab.bench.steps import PAPER, StepEvaluation
from loratorio_lab.bench.ways import Setup


def compose_way(predictions: Tensor, sources: int) -> Callable[[], object]:
    """From patches to composition: `method.compose` on the predictions of every source.

    predictions: [sources · rows, C, H, W], of each source the conditional rows, then as many unconditional
    ones; the base's first.
    """
    halves = predictions.unflatten(0, (sources, 2, -1))
    cond, uncond = (halves[:, half].contiguous() for half in range(2))

    def way() -> object:
        return compose(
            cond[0],
            cond[1:],
            uncond[0],
            uncond[1:],
            patch_size=PAPER.patch_size,
            temperature=PAPER.temperature,
            top_k=PAPER.top_k,
            top_k_scope=PAPER.top_k_scope,
            recenter=PAPER.recenter,
        )

    return way


@dataclass
class _Answered(StepEvaluation):
    """The model has answered already."""

    answer: Tensor | None = None

    def _predicted(self, rows: tuple[Row, ...]) -> Tensor:
        assert self.answer is not None
        return self.answer


def step_way(setup: Setup, predictions: Tensor) -> Callable[[], object]:
    """All of a step with λ = 0.5 but the model: rows, hooks, composition, report; predictions as above."""
    uses = [NetworkUse(str(index), 1.0) for index in range(len(setup.networks))]
    evaluation = _Answered(setup, setup.router, 0, 1, answer=predictions)

    def way() -> object:
        return Run(PAPER, uses).step(evaluation)

    return way
