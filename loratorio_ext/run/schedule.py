"""Which networks are evaluated at which evaluation of the sampler, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from loratorio_ext.run.evaluation import Layout
from loratorio_ext.run.rows import Row, Source, rows_of
from loratorio_ext.settings import Settings

Method = Literal["loratorio", "base", "merge", "merge-recentred", "switch", "composite"]
Mode = Literal["composed", "base", "merged", "switch", "composite"]

# A part of the evaluations that arrives as 0.15000000000000002 from a slider means 0.15.
_WINDOW_TOLERANCE = 1e-6


@dataclass(frozen=True)
class StepPlan:
    """What one evaluation does.

    Attributes:
        mode: "composed" (LoRAtorio), "base" (no composed network), "merged" (all at once), "switch" (one
            alone) or "composite" (the plain mean of all).
        fresh: composed only: networks are evaluated; otherwise what they added last time is added again.
        scan: composed only: every network is evaluated.
        choosing: composed only: a choice made at the scans decides what is evaluated between them.
        network: switch only: the network that is alone.
        recentred: merged only: the unconditional is pulled back towards the base.
    """

    mode: Mode
    fresh: bool = True
    scan: bool = False
    choosing: bool = False
    network: int = 0
    recentred: bool = False


@dataclass(frozen=True)
class Schedule:
    """The plan of a whole generation.

    An evaluation is inside the window when start ≤ index / total < end (a 1e-6 part of an evaluation is
    forgiven); end = 1 has no upper bound, so a sampler that makes more evaluations than it promised goes on
    composing; start = end is never inside. Outside the window LoRAtorio, Switch and Composite predict with
    all networks merged. The window does nothing to "base", "merge" and
    "merge-recentred".

    Scans (when 0 < top_k < networks, top_k_scope is "image" and rescan > 1) happen at the first evaluation of
    the window and at every ``rescan``-th one from there. Networks are evaluated at scans, and at every
    ``reuse``-th evaluation from the first one of the window.

    ``settings.enabled`` is not read: whether there is a run at all is the host's business.

    Attributes:
        settings: the settings of the generation.
        method: LoRAtorio or one of the usual ways, for comparison.
        networks: number of composed networks N.
        switch_every: Switch moves on to the next network after so many evaluations; at least 1.
    """

    settings: Settings
    method: Method
    networks: int
    switch_every: int = 5

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ValueError(f"method is {self.method!r}; it must be one of {', '.join(get_args(Method))}")
        if type(self.switch_every) is not int or self.switch_every < 1:
            raise ValueError(
                f"switch_every is {self.switch_every!r}; it must be a whole number of at least 1"
            )
        if self.networks < 0:
            raise ValueError(f"networks is {self.networks}; it must be at least 0")

    def plan(self, index: int, total: int) -> StepPlan:
        """What evaluation ``index`` of ``total`` does."""
        if self.method == "base" or self.networks == 0:
            return StepPlan("base")
        first, last = self._window(total)
        if self.method == "merge-recentred":
            return StepPlan("merged", recentred=True)
        if self.method == "merge" or not first <= index < last:
            return StepPlan("merged")
        if self.method == "switch":
            return StepPlan("switch", network=(index // self.switch_every) % self.networks)
        if self.method == "composite":
            return StepPlan("composite")
        choosing, place = self.choosing, index - first
        scan = choosing and place % self.settings.rescan == 0
        fresh = scan or place % self.settings.reuse == 0
        return StepPlan("composed", fresh=fresh, scan=scan or (fresh and not choosing), choosing=choosing)

    def rows(
        self, plan: StepPlan, layout: Layout, choice: Sequence[Sequence[int]] | None = None
    ) -> tuple[Row, ...]:
        """The rows of a step, in order: the base's, then each network's; of each source cond before uncond.

        Where the host has predicted for the base before, those rows are part of every step: they were made.

        Args:
            plan: what the evaluation does.
            layout: rows and images of the evaluation.
            choice: the chosen networks of each image, needed between scans; AND sub-prompts follow their
                image.
        """
        images = range(layout.images)
        if plan.mode != "composed":
            usual = [row for source in self._sources(plan) for row in _all_rows(source, layout)]
            if plan.mode == "base":
                return tuple(usual)
            if layout.base_calls > 0:
                return (*_all_rows("base", layout), *usual)
            return (*rows_of("base", (), images if plan.recentred and layout.guided else ()), *usual)
        rows = list(_all_rows("base", layout))
        if not plan.fresh:
            return tuple(rows)
        networks = range(self.networks)
        chosen = [frozenset(networks)] * layout.images
        if plan.choosing and not plan.scan:
            chosen = [frozenset(of_image) for of_image in choice or [()] * layout.images]
        for network in networks:
            cond = [row for row, image in enumerate(layout.image_of) if network in chosen[image]]
            uncond = [image for image in images if network in chosen[image]]
            rows.extend(rows_of(network, cond, uncond if self._asks_uncond(layout.guided) else ()))
        return tuple(rows)

    def count(
        self, plan: StepPlan, *, cond_rows: int, images: int, guided: bool, base_is_given: bool = False
    ) -> int:
        """How many rows `rows` has, without making them; every image chooses equally many networks.

        Args:
            plan: what the evaluation does.
            cond_rows: conditional rows R.
            images: images B.
            guided: whether there are unconditional rows.
            base_is_given: whether the host has predicted for the base before.
        """
        plain = cond_rows + images * guided
        if plan.mode == "composed":
            if not plan.fresh:
                return plain
            networks = self.networks if plan.scan or not plan.choosing else self.settings.top_k
            return plain + networks * (cond_rows + images * self._asks_uncond(guided))
        usual = plain * len(self._sources(plan))
        if plan.mode == "base":
            return usual
        return usual + (plain if base_is_given else images * (plan.recentred and guided))

    @property
    def choosing(self) -> bool:
        """Whether the composed steps between two scans evaluate the chosen networks alone."""
        settings = self.settings
        return 0 < settings.top_k < self.networks and settings.top_k_scope == "image" and settings.rescan > 1

    def _asks_uncond(self, guided: bool) -> bool:
        """Whether networks are asked for unconditional predictions in composed steps."""
        return guided and self.settings.recenter < 1

    def _window(self, total: int) -> tuple[int, float]:
        start, end = self.settings.start, self.settings.end
        first = math.ceil(start * total - _WINDOW_TOLERANCE)
        if start >= end:
            return first, first
        return first, math.inf if end >= 1 else math.ceil(end * total - _WINDOW_TOLERANCE)

    def _sources(self, plan: StepPlan) -> Sequence[Source]:
        if plan.mode == "switch":
            return (plan.network,)
        if plan.mode == "composite":
            return range(self.networks)
        return ("merged",) if plan.mode == "merged" else ("base",)


def cost(
    settings: Settings,
    networks: int,
    guided: bool = True,
    *,
    total: int,
    images: int = 1,
    cond_rows: int | None = None,
    base_is_given: bool = False,
    method: Method = "loratorio",
    switch_every: int = 5,
) -> tuple[int, ...]:
    """Rows that each evaluation of a generation sends through the model, known before it runs.

    Takes time in proportion to ``total`` alone.

    Args:
        settings: the settings of the generation.
        networks: number of composed networks N (kept networks cost no rows); at least 0.
        guided: whether unconditional predictions are wanted.
        total: number of evaluations of the model (twice the steps, about, for second-order samplers).
        images: images in the batch; at least 1.
        cond_rows: conditional rows, when AND sub-prompts make them more than ``images``; None: ``images``.
        base_is_given: whether the host predicts for the base itself at every evaluation, used or not.
        method: as for ``Run``.
        switch_every: as for ``Run``.

    Returns:
        One number of rows for each evaluation; the same numbers as in the report afterwards. A plain
        generation has ``cond_rows`` rows, and ``images`` more with guidance.

    Raises:
        ValueError: a number is out of its range.
    """
    cond_rows = images if cond_rows is None else cond_rows
    if total < 1 or images < 1 or cond_rows < images:
        raise ValueError(
            f"total is {total}, images is {images}, cond_rows is {cond_rows}; the first two must be at least "
            "1, and cond_rows at least images"
        )
    schedule = Schedule(settings, method, networks, switch_every)
    return tuple(
        schedule.count(
            schedule.plan(index, total),
            cond_rows=cond_rows,
            images=images,
            guided=guided,
            base_is_given=base_is_given,
        )
        for index in range(total)
    )


def _all_rows(source: Source, layout: Layout) -> tuple[Row, ...]:
    return rows_of(source, range(layout.cond_rows), range(layout.images) if layout.guided else ())
