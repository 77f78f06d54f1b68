"""One generation, for any host: what is evaluated when, the step, and the report of what happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from loratorio_ext.method import Aggregation
from loratorio_ext.run.again import Again
from loratorio_ext.run.calls import Caller, RouterLike
from loratorio_ext.run.choice import Choice
from loratorio_ext.run.evaluation import Evaluation, Layout, Prediction
from loratorio_ext.run.held import Held
from loratorio_ext.run.outputs import Outputs
from loratorio_ext.run.ranking import Ranking
from loratorio_ext.run.report import Report
from loratorio_ext.run.rows import NetworkUse, Row, Source, Strengths
from loratorio_ext.run.schedule import Method, Schedule, StepPlan
from loratorio_ext.run.step_report import StepCounts
from loratorio_ext.run.stopwatch import Stopwatch
from loratorio_ext.run.strategies import Composer, Observed, is_finite, usual
from loratorio_ext.run.wide import wide
from loratorio_ext.settings import Settings


class Run:
    """One sampling pass.

    The host calls ``step`` for every evaluation of the model and combines the prediction by its own guidance.
    An exception of the host goes through; the report then holds the steps before it.

    Attributes:
        report: what happened so far.
    """

    def __init__(
        self,
        settings: Settings,
        uses: Sequence[NetworkUse],
        router: RouterLike,
        *,
        method: Method = "loratorio",
        switch_every: int = 5,
        host: str = "",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Prepare a run; nothing is evaluated yet.

        Args:
            settings: all settings; ``enabled`` is not read, since whether to run is the host's decision.
            uses: the networks in the order of the router's. One of strength 0 takes part like any other.
            router: gives each row its networks.
            method: "loratorio", or for comparison "base" (kept networks only), "merge" (all at once),
                "merge-recentred" (the same with LoRAtorio's unconditional), "switch" (one at a time) or
                "composite" (the mean of the networks' predictions, each alone).
            switch_every: evaluations after which Switch moves on; at least 1.
            host: name of the host, for the report.
            clock: seconds, for the report.

        Raises:
            ValueError: a strength is not finite, or ``method`` or ``switch_every`` is out of its range.
        """
        networks = sum(use.compose for use in uses)
        self._schedule = Schedule(settings, method, networks, switch_every)
        strengths = Strengths(uses)
        self.report = Report(settings, uses, method, switch_every, host)
        self._strengths = strengths
        self._caller = Caller(router, strengths, settings.batch_rows, self.report.warn)
        self._composer = Composer(settings, networks)
        self._networks = networks
        self._choice: Choice | None = None
        self._ranking = Ranking(settings.score)
        self._held = Held()
        self._reuse = settings.reuse > 1
        self._recenter = settings.recenter
        self._clock = clock
        # Where the model runs; known after the first evaluation.
        self._device: torch.device | None = None
        self._warn_beforehand(settings, method, kept=len(uses) - networks)

    def step(self, evaluation: Evaluation) -> Prediction:
        """Do one evaluation of the sampler.

        Returns:
            Conditional [R, C, H, W] and unconditional [B, C, H, W] (None without guidance) predictions, in
            the space and dtype of ``evaluation.predict``.

        Raises:
            ValueError: what the host says about its rows is contradictory, or a prediction has a wrong shape.
            RowTooLargeError: not even one row fits into memory.
        """
        self.report.finished = False
        layout = Layout.of(evaluation)
        plan = self._plan(evaluation, layout)
        rows = self._rows(plan, layout)
        stopwatch = Stopwatch(self._clock, self._device)
        called = self._caller.predict(evaluation, rows)
        outputs = Outputs(self._with_held(evaluation, layout, plan, called.predictions), layout)
        observed: Observed | None = None
        aggregation: Aggregation | None = None
        if plan.mode == "composed":
            composed = self._composer.composed(evaluation, layout, plan, outputs, self._choice, self._ranking)
            prediction, observed, self._choice = composed.prediction, composed.observed, composed.choice
            aggregation = composed.aggregation
        else:
            prediction = usual(plan, layout, outputs, self._networks, self._recenter)
        self._device = prediction.cond.device
        counts = StepCounts(
            index=evaluation.index,
            sigma=evaluation.sigma,
            mode=plan.mode,
            scan=plan.mode == "composed" and plan.scan,
            reused=not plan.fresh,
            rows=len(rows),
            plain_rows=layout.plain_rows,
            calls=called.calls,
            halvings=called.halvings,
            images=layout.images,
            image_of=layout.image_of,
            seconds=stopwatch.stop(prediction.cond.device),
            switched_to=plan.network,
        )
        self.report.add(counts, is_finite(prediction), observed)
        if evaluation.index >= evaluation.total - 1:
            self.report.finished = True
        return replace(prediction, again=_again(plan, outputs, prediction, aggregation))

    def strengths(self, source: Source) -> tuple[float, ...]:
        """The router's strengths of a row with this source, one for each network."""
        return self._strengths.of(source)

    def end(self, *, stopped: bool) -> None:
        """No evaluation follows; the report needs nothing of the device any more.

        Some samplers end before the evaluation ``total - 1`` (DDIM, Heun), so the host has to say it.

        Args:
            stopped: whether the user ended the sampler before it was done.
        """
        self.report.settle()
        if not stopped:
            self.report.finished = True

    def _plan(self, evaluation: Evaluation, layout: Layout) -> StepPlan:
        plan = self._schedule.plan(evaluation.index, evaluation.total)
        fits = self._choice is not None and len(self._choice.networks) == layout.images
        if plan.choosing and not fits:
            return replace(plan, fresh=True, scan=True)
        if not plan.fresh and not self._held.covers(self._rows(replace(plan, fresh=True), layout)):
            return replace(plan, fresh=True, scan=not plan.choosing)
        return plan

    def _rows(self, plan: StepPlan, layout: Layout) -> tuple[Row, ...]:
        return self._schedule.rows(plan, layout, self._choice.networks if self._choice else None)

    def _with_held(
        self, evaluation: Evaluation, layout: Layout, plan: StepPlan, predictions: dict[Row, Tensor]
    ) -> dict[Row, Tensor]:
        """The predictions of all rows: those just made, and in a step between the ones that are held."""
        if plan.mode != "composed" or not self._reuse:
            return predictions
        if plan.fresh:
            self._held.keep(predictions, evaluation.noise_scale)
            return predictions
        rows = self._rows(replace(plan, fresh=True), layout)
        return self._held.completed(predictions, rows, evaluation.noise_scale)

    def _warn_beforehand(self, settings: Settings, method: Method, kept: int) -> None:
        if method in ("loratorio", "switch", "composite") and self._networks == 0:
            # Without any network nothing is missing: the picture is the plain one.
            if kept:
                self.report.warn(
                    f"there is no network to compose: all {kept} networks are kept merged in every row"
                )
        elif method == "loratorio" and settings.rescan > 1 and not self._schedule.choosing:
            self.report.warn(
                f"rescan = {settings.rescan} has no effect: it needs top_k between 1 and "
                f'{self._networks - 1} (it is {settings.top_k}) and top_k_scope "image" (it is '
                f'"{settings.top_k_scope}"), so every network is evaluated at every step'
            )


def _again(
    plan: StepPlan, outputs: Outputs, prediction: Prediction, aggregation: Aggregation | None
) -> Again | None:
    if plan.mode == "composed" and plan.fresh:
        return Again(aggregation=aggregation)
    if plan.mode == "composed":
        cond, uncond = prediction.cond, prediction.uncond
        added = None if uncond is None else _difference(uncond, outputs.uncond("base"))
        return Again(added=(_difference(cond, outputs.cond("base")), added))
    if plan.mode == "base" or (plan.mode == "merged" and not plan.recentred):
        return Again(source=plan.mode)
    return None


def _difference(prediction: Tensor, base: Tensor) -> Tensor:
    return wide(prediction) - wide(base)
