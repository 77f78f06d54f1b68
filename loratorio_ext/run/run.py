"""One generation, for any host: what is evaluated when, the step, and the report of what happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from loratorio_ext.method import RowMap
from loratorio_ext.networks.router import Places, UnplacedError
from loratorio_ext.run.calls import Caller
from loratorio_ext.run.composer import Composer, StepPredictions
from loratorio_ext.run.evaluation import BRANCHES, Evaluation, NetworkUse, Prediction, Row, RowStrengths
from loratorio_ext.run.report import Report
from loratorio_ext.run.reuse import ResidualCache
from loratorio_ext.run.routes import Routes
from loratorio_ext.run.schedule import Method, Schedule, StepPlan
from loratorio_ext.run.step_report import StepReport, Stopwatch
from loratorio_ext.settings import Settings


class Run:
    """One sampling pass.

    The host calls ``step`` for every evaluation of the model and combines the prediction by its own guidance.
    An exception raised by the host passes through; the report then holds the steps before it.

    Attributes:
        report: what happened so far.
        routes: the strengths of every row and, between looks, where networks act.
    """

    def __init__(
        self,
        settings: Settings,
        uses: Sequence[NetworkUse],
        *,
        method: Method = "loratorio",
        switch_every: int = 5,
        host: str = "",
        clock: Callable[[], float] = time.perf_counter,
        announce: Callable[[int, int], None] = lambda rows, plain_rows: None,
    ) -> None:
        """Prepare a run; nothing is evaluated yet.

        Args:
            settings: all settings; ``enabled`` is not read, since whether to run is the host's decision.
            uses: the networks, in the order in which ``Evaluation.predict`` takes their strengths. A network
                of strength 0 takes part like any other.
            method: "loratorio", or for comparison "base" (kept networks only), "merge" (all at once),
                "merge-recentred" (the same with LoRAtorio's unconditional), "switch" (one at a time) or
                "composite" (the mean of the networks' predictions, each alone).
            switch_every: evaluations after which Switch moves on; at least 1.
            host: name of the host, for the report.
            clock: seconds, for the report.
            announce: told, before each evaluation, its number of rows and that of a plain generation.

        Raises:
            ValueError: a strength is not finite, an argument of a network cannot be, or ``method`` or
                ``switch_every`` is out of its range.
        """
        networks = sum(use.compose for use in uses)
        self.routes = Routes(uses)
        windows = tuple(use.window for use in uses if use.compose)
        if all(window.always for window in windows):
            windows = ()
        has_areas = self.routes.has_areas
        self._schedule = Schedule(settings, method, networks, switch_every, windows, has_areas)
        self.report = Report(settings, uses, method, switch_every, host)
        self._caller = Caller(self.routes, settings.batch_rows, self.report.warn)
        self._composer = Composer(settings, networks, self.routes)
        self._residuals = ResidualCache()
        self._clock, self._announce = clock, announce
        # Where the model runs; known after the first evaluation.
        self._device: torch.device | None = None
        self._can_place, self._needs_looks = True, True
        self._warn_beforehand(kept=len(uses) - networks)

    def step(self, evaluation: Evaluation) -> Prediction:
        """Do one evaluation of the sampler.

        Returns:
            Conditional [R, C, H, W] and unconditional [B, C, H, W] (None without guidance) predictions, in
            the space and dtype of ``evaluation.predict``.

        Raises:
            ValueError: what the host says of its evaluation is impossible, or a prediction has a wrong shape.
            RowTooLargeError: not even one row fits into memory.
        """
        self.report.finished = False
        plan, rows = self._plan(evaluation)
        plain_rows = evaluation.rows.cond_rows + evaluation.rows.images * evaluation.guided
        self._announce(len(rows), plain_rows)
        stopwatch = Stopwatch(self._clock, self._device)
        try:
            called = self._caller.predict(evaluation, rows)
        except UnplacedError as error:
            self.stop_placing(evaluation.index, str(error))
            plan, rows = self._plan(evaluation)
            called = self._caller.predict(evaluation, rows)
        predictions = called.predictions
        settings = self.report.settings
        if plan.mode == "composed" and settings.reuse > 1 and settings.looks == 0:
            if plan.fresh:
                self._residuals.keep(predictions, evaluation.noise_scale)
            else:
                every = self._rows(replace(plan, fresh=True), evaluation)
                predictions = self._residuals.completed(predictions, every, evaluation.noise_scale)
        of_sources = StepPredictions(predictions, evaluation.rows, evaluation.guided)
        prediction, observed = self._composer.combined(evaluation, plan, of_sources)
        self._device = prediction.cond.device

        # What the report reads later, so that the evaluation and its tensors can be freed.
        index, sigma, image_of = evaluation.index, evaluation.sigma, evaluation.rows.image_of
        names, halvings, calls = self.report.composed, called.halvings, called.calls
        seconds = stopwatch.stop(prediction.cond.device)
        finite = prediction.cond.isfinite().all()
        if prediction.uncond is not None:
            finite = finite & prediction.uncond.isfinite().all()

        def settle() -> StepReport:
            return StepReport.of(
                observed,
                names,
                index=index,
                sigma=float(sigma),
                mode=plan.mode,
                scan=plan.mode == "composed" and plan.scan,
                reused=not plan.fresh,
                rows=len(rows),
                plain_rows=plain_rows,
                calls=calls,
                seconds=seconds(),
                finite=bool(finite),
                halvings=halvings,
                image_of=image_of,
            )

        self.report.begin(index, evaluation.total)
        self.report.add(settle)
        if index >= evaluation.total - 1:
            self.report.finished = True
        return prediction

    def placed_rows(
        self, index: int, total: int, rows: RowMap, guided: bool
    ) -> tuple[tuple[Row, ...], list[RowStrengths], Places] | None:
        """For a host that predicts before it asks for a step: how to predict one that places networks.

        Args:
            index: number of the evaluation to come.
            total: how many there will be.
            rows: its conditional rows.
            guided: whether there are unconditional rows.

        Returns:
            (every conditional row and then, with guidance, every unconditional one; their strengths; maps);
            None: the step to come does not place networks.
        """
        plan = self._fitting(self._schedule.plan(index, total), rows)
        if plan.mode != "placed":
            return None
        self.routes.begin(index, total)
        found = self._schedule.rows(plan, rows, guided=guided)
        ordered = tuple(sorted(found, key=lambda row: (row.branch, row.index)))
        strengths, places = self.routes.of_rows(ordered)
        return None if places is None else (ordered, strengths, places)

    def base_strengths(
        self, index: int, total: int, rows: RowMap, guided: bool
    ) -> tuple[RowStrengths, ...] | None:
        """For a host that predicts the base before it asks for a step: the networks that act in the base.

        Arguments as for `placed_rows`. Returns the strengths of every conditional row and then, with
        guidance, every unconditional one; None: no network acts in any.
        """
        self.routes.begin(index, total)
        cond, uncond = (self.routes.of("base", branch) for branch in BRANCHES)
        table = (cond,) * rows.cond_rows + (uncond,) * (rows.images * guided)
        return table if any(map(any, table)) else None

    def go_on_from(self, other: Run, size: tuple[int, int]) -> None:
        """Place networks from the first step on, by another run's maps: no step needs to look.

        Does nothing where that run has no maps, or had other networks or strengths.

        Args:
            other: of the first pass, where this is the hires pass.
            size: H and W of this pass's latents.
        """
        self._needs_looks = not self.routes.go_on_from(other.routes, size)

    def place(self, maps: Tensor, rows: RowMap) -> None:
        """Place networks by these maps at every step of the window: none needs to look.

        Args:
            maps: what is multiplied by what each composed network adds, [N, R, H, W], finite; H and W are the
                latent's.
            rows: the image and the AND weight of each of the R conditional rows.
        """
        self.routes.place(maps, rows, self.report.settings.recenter)
        self._needs_looks = False

    def is_unguided(self) -> None:
        """The unconditional prediction does not count, or there is none; the report says what it costs."""
        for use in self.report.uses:
            if use.uncond or not use.cond:
                self.report.warn(
                    "CFG scale is 1, so there is no unconditional prediction for network "
                    f"{use.name!r} to act in"
                )

    def stop_placing(self, index: int, reason: str) -> None:
        """From evaluation ``index`` on every step is a full one; the report says why."""
        self._can_place = False
        self.report.warn(
            f"networks cannot be placed in this picture ({reason}); from evaluation {index} on, all networks "
            "are evaluated at every step"
        )

    def end(self, *, stopped: bool) -> None:
        """No evaluation follows; from here on the report no longer needs the device.

        Some samplers end before evaluation ``total - 1`` (DDIM, Heun), so the host has to say so.

        Args:
            stopped: whether the user ended the sampler before it was done.
        """
        _ = self.report.steps
        if not stopped:
            self.report.finished = True

    def _plan(self, evaluation: Evaluation) -> tuple[StepPlan, tuple[Row, ...]]:
        """What this evaluation does, and its rows."""
        for name, value, least in (("index", evaluation.index, 0), ("total", evaluation.total, 1)):
            if value < least:
                raise ValueError(f"the host's {name} is {value}; it must be at least {least}")
        plan = self._fitting(self._schedule.plan(evaluation.index, evaluation.total), evaluation.rows)
        self.routes.begin(evaluation.index, evaluation.total)
        chosen = self._composer.chosen
        if plan.choosing and (chosen is None or len(chosen.of_images) != evaluation.rows.images):
            plan = replace(plan, fresh=True, scan=True)
        elif not plan.fresh and not self._residuals.covers(self._rows(replace(plan, fresh=True), evaluation)):
            plan = replace(plan, fresh=True, scan=not plan.choosing)
        return plan, self._rows(plan, evaluation)

    def _fitting(self, plan: StepPlan, rows: RowMap) -> StepPlan:
        """A look in place of a step for which there are no maps, and none where there are all."""
        acting, fits = plan.acting, self.routes.fits(rows, plan.acting)
        if plan.mode == "placed" and len(acting) == 1 and not self.routes.has_areas and not fits:
            everywhere = torch.zeros(self._schedule.networks, rows.cond_rows, 1, 1)
            everywhere[acting[0]] = 1.0
            self.routes.place(everywhere, rows, self.report.settings.recenter, acting)
            fits = True
        can_place = self._can_place and fits
        if plan.mode == "placed" and not can_place:
            return StepPlan("composed", scan=True, acting=acting)
        if plan.mode == "composed" and can_place and not self._needs_looks:
            return StepPlan("placed", acting=acting)
        return plan

    def _rows(self, plan: StepPlan, evaluation: Evaluation) -> tuple[Row, ...]:
        chosen = self._composer.chosen
        return self._schedule.rows(
            plan,
            evaluation.rows,
            guided=evaluation.guided,
            base_is_given=evaluation.given is not None,
            chosen=None if chosen is None else chosen.of_images,
        )

    def _warn_beforehand(self, kept: int) -> None:
        settings, method, networks = self.report.settings, self.report.method, len(self.report.composed)
        if self.routes.has_areas and (method != "loratorio" or settings.start > 0 or settings.end < 1):
            self.report.warn("where networks act merged, and with the usual methods, at= has no effect")
        if method in ("loratorio", "switch", "composite") and networks == 0:
            # Without any network nothing is missing: the picture is the plain one.
            uses = self.report.uses
            if kept and all(use.acts("cond") and use.acts("uncond") and use.window.always for use in uses):
                self.report.warn(
                    f"there is no network to compose: all {kept} networks are kept merged in every row"
                )
        elif method == "loratorio" and settings.looks > 0 and max(settings.rescan, settings.reuse) > 1:
            self.report.warn(
                f"rescan = {settings.rescan} and reuse = {settings.reuse} have no effect: looks is "
                f"{settings.looks}; set it to 0 to use them"
            )
        elif method == "loratorio" and settings.rescan > 1 and not self._schedule.choosing:
            self.report.warn(
                f"rescan = {settings.rescan} has no effect: it needs top_k between 1 and "
                f'{networks - 1} (it is {settings.top_k}) and top_k_scope "image" (it is '
                f'"{settings.top_k_scope}"), so every network is evaluated at every step'
            )
