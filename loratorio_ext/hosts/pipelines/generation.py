"""One generation of a pipeline: its run, and what it makes of each call of the denoiser."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from loratorio_ext.hosts.diffusers_host.spaces import PREDICTION_TYPES
from loratorio_ext.hosts.pipelines.adapters import Adapter
from loratorio_ext.hosts.pipelines.evaluation import Call, CallEvaluation
from loratorio_ext.hosts.pipelines.families import Family
from loratorio_ext.networks.router import Places, Router, UnplacedError
from loratorio_ext.run import Branch, FrozenComposition, GivenBase, NetworkUse, Row, RowStrengths, Run, Source
from loratorio_ext.settings import Settings


@dataclass(frozen=True)
class _Step:
    """A call that the pipeline is making.

    Attributes:
        evaluation: of it.
        is_placed: whether networks are placed in it.
        is_usable: whether its predictions can be used.
        further: of a further call at the noise level of a step: its branch, and how the step was made.
    """

    evaluation: CallEvaluation
    is_placed: bool = False
    is_usable: bool = True
    further: tuple[Branch, FrozenComposition] | None = None


class Generation:
    """From one `set_timesteps` of the pipeline's scheduler to the next.

    The pipeline's own call of the denoiser predicts what a plain step would; the run asks for more rows where
    it needs them.

    Attributes:
        run: with the report.
        timesteps: of the scheduler, the very tensor: a pipeline that begins anew sets another.
    """

    def __init__(
        self,
        pipeline: Any,
        family: Family,
        adapters: Sequence[Adapter],
        kept: frozenset[str],
        settings: Settings,
    ) -> None:
        """Prepare the first call.

        Raises:
            ValueError: the scheduler does not fit the family.
        """
        scheduler = pipeline.scheduler
        if family.flow is None:
            _check_scheduler(scheduler)
        self.timesteps = scheduler.timesteps
        uses = [NetworkUse(one.name, one.strength, one.name not in kept) for one in adapters]
        self.run = Run(settings, uses, host="diffusers pipeline")
        self.layout = family.layout()
        self._pipeline, self._family, self._scheduler = pipeline, family, scheduler
        layers = {name: layer for one in adapters for name, layer in one.layers.modules.items()}
        self._router = Router(layers, [one.layers for one in adapters])
        self._is_joined = bool(family.joined) and any(family.joined in name for name in layers)
        self._index = 0
        self._guided: dict[int, bool] = {}  # by the number of rows
        self._routing = ExitStack()
        self._failures: list[Exception] = []
        self._step: _Step | None = None
        self._last: tuple[CallEvaluation, FrozenComposition | None] | None = None

    def before(self, call: Call) -> None:
        """The pipeline is about to make a call."""
        self._routing.close()
        self._failures.clear()
        further = self._further_branch(call)
        if further is not None:
            self._step, table, places = self._begun_further(call, further)
        else:
            self._step, table, places = self._begun(call)
        if self._step.is_usable and any(any(row) for row in table):
            strengths = self._step.evaluation.scaled(table)
            self._routing.enter_context(self._router.routing(strengths, places, self._failures.append))

    def after(self, output: Any) -> Any:
        """What the pipeline gets instead of the output of its call."""
        self._routing.close()
        step, self._step = self._step, None
        if step is None:
            raise RuntimeError("the denoiser answers to a call that has not begun")
        for error in self._failures:
            if step.further is not None or not isinstance(error, UnplacedError):
                raise error
        evaluation = step.evaluation
        call, images = evaluation.call, evaluation.images
        predicted = self.layout.picture(output[0], call.arguments)
        if step.further is not None:
            return self._answer(call, self._combined(evaluation, *step.further, predicted))
        if self._failures:
            self.run.stop_placing(evaluation.index, str(self._failures[0]))
        elif step.is_usable:
            parts = predicted[:images], predicted[-images:]
            uncond, cond = parts if self._family.guidance == "uncond first" else parts[::-1]
            given = GivenBase(cond, uncond, 1, step.is_placed)
            evaluation = replace(evaluation, given=given)
        self._index += 1
        made = self.run.step(evaluation)
        self._last = evaluation, made.frozen
        found = [made.cond] if made.uncond is None else [made.cond, made.uncond]
        if self._family.guidance == "uncond first":
            found.reverse()
        return self._answer(call, torch.cat(found))

    def end(self) -> None:
        """No call follows."""
        self._routing.close()
        self._step = self._last = None
        self.run.end(stopped=True)
        self._router.release()

    def _begun(self, call: Call) -> tuple[_Step, list[RowStrengths], Places | None]:
        """(the next evaluation, strengths and places of the rows of the pipeline's own call)."""
        evaluation = CallEvaluation(
            call,
            self._index,
            self._total(),
            self._is_guided(call),
            self._router,
            self._scheduler,
            self._is_joined,
        )
        table = [self.run.routes.of("base")] * call.rows
        places = None
        if call.has_references and self._index == 0:
            self.run.stop_placing(0, "pictures for reference are beside it")
        placed = self.run.placed_rows(evaluation.index, evaluation.total, evaluation.rows, evaluation.guided)
        if placed is not None:
            rows, strengths, maps = placed
            order = sorted(
                range(len(rows)), key=lambda row: evaluation.place_of(rows[row].branch, rows[row].index)
            )
            table, places = [strengths[row] for row in order], maps.of(order)
        lengths = {evaluation.text_length(place) for place in range(call.rows)}
        is_usable = len(lengths) == 1 or not any(any(row) for row in table)
        return _Step(evaluation, placed is not None, is_usable), table, places

    def _further_branch(self, call: Call) -> Branch | None:
        """Of a call at the noise level of the last step; None: it begins a step."""
        if self._last is None:
            return None
        if call.arguments.get("skip_layers") is not None:  # skip-layer guidance
            return "cond"
        is_same = self._last[0].call.sample is call.sample
        return "uncond" if self._family.guidance == "two calls" and is_same else None

    def _begun_further(self, call: Call, branch: Branch) -> tuple[_Step, list[RowStrengths], Places | None]:
        """(a further call of the last step, strengths and places of its rows)."""
        if self._last is None:
            raise RuntimeError("no step has been made")
        step, frozen = self._last
        if frozen is None or call.rows != step.images:
            raise ValueError(
                f"the pipeline makes a further call of {call.rows} rows after one of {step.images} images, "
                "which cannot be composed"
            )
        evaluation = replace(step, call=call, guided=False, given=None)
        source = frozen.sources(branch, slice(0, call.rows))[0]
        table, places = self.run.routes.of_rows(_rows(source, branch, call.rows))
        return _Step(evaluation, further=(branch, frozen)), table, places

    def _combined(
        self, evaluation: CallEvaluation, branch: Branch, frozen: FrozenComposition, predicted: Tensor
    ) -> Tensor:
        """A further prediction [rows, C, H, W], composed as the step was, with its weights."""
        count = evaluation.images
        first, *others = frozen.sources(branch, slice(0, count))
        predictions: dict[Source, Tensor] = {first: predicted}
        for source in others:
            rows = _rows(source, branch, count)
            predictions[source], _ = evaluation.predict(rows, *self.run.routes.of_rows(rows))
        return frozen.prediction(branch, slice(0, count), predictions)

    def _answer(self, call: Call, predictions: Tensor) -> tuple[Any]:
        return (self.layout.packed(predictions, call.arguments),)

    def _total(self) -> int:
        """How many evaluations there will be."""
        announced = getattr(self._pipeline, "num_timesteps", None)
        return announced if isinstance(announced, int) and announced > 0 else len(self.timesteps)

    def _is_guided(self, call: Call) -> bool:
        """Whether the call holds conditional and unconditional rows."""
        family = self._family
        if family.guidance == "two calls" or not self._pipeline.do_classifier_free_guidance:
            return False
        if call.rows not in self._guided:
            self._guided[call.rows] = call.rows % 2 == 0 and call.halves_are_alike()
        if not self._guided[call.rows] and family.guidance == "uncond first":
            raise ValueError(
                f"{type(self._pipeline).__name__} calls its denoiser with {call.rows} rows, which are not "
                "unconditional and conditional ones for the same latents; such a pipeline cannot be composed"
            )
        return self._guided[call.rows]


def _rows(source: Source, branch: Branch, count: int) -> list[Row]:
    return [Row(source, branch, image) for image in range(count)]


def _check_scheduler(scheduler: Any) -> None:
    prediction = scheduler.config.get("prediction_type")
    if not hasattr(scheduler, "alphas_cumprod") or prediction not in PREDICTION_TYPES:
        raise ValueError(
            f"the scheduler {type(scheduler).__name__} (prediction type {prediction!r}) does not fit Stable "
            f"Diffusion, whose predictions are one of {', '.join(PREDICTION_TYPES)}; take another scheduler"
        )
