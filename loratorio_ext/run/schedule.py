"""Which networks are evaluated at which evaluation of the sampler, and what that costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, get_args

from loratorio_ext.method import RowMap
from loratorio_ext.networks.arguments import Window
from loratorio_ext.run.evaluation import Branch, Row, Source
from loratorio_ext.settings import Settings

Method = Literal["loratorio", "base", "merge", "merge-recentred", "switch", "composite"]
Mode = Literal["composed", "placed", "base", "merged", "switch", "composite"]

Branches = tuple[Branch, ...]

# A fraction that arrives as 0.15000000000000002 from a slider means 0.15.
_WINDOW_TOLERANCE = 1e-6

LOOK_GROWTH = 2.0
"""Each distance between two looks over the one before."""


@dataclass(frozen=True)
class StepPlan:
    """What one evaluation does.

    Attributes:
        mode: "composed" (LoRAtorio), "placed" (all networks at once, each where it spoke at the last looks),
            "base" (no composed network), "merged" (all at once), "switch" (a single one) or "composite" (the
            plain mean of all).
        fresh: composed only: networks are evaluated; otherwise what they last added is added again.
        scan: composed only: every network is evaluated.
        choosing: composed only: a choice made at the scans decides what is evaluated between them.
        network: switch only: the network that acts.
        recentred: merged only: the unconditional is pulled back towards the base.
        acting: the composed networks whose own steps include this evaluation, ascending.
    """

    mode: Mode
    fresh: bool = True
    scan: bool = False
    choosing: bool = False
    network: int = 0
    recentred: bool = False
    acting: tuple[int, ...] = ()


@dataclass(frozen=True)
class Schedule:
    """The plan of a whole generation.

    An evaluation is inside the window when start ≤ index / total < end (with a tolerance of 1e-6
    evaluations). end = 1 sets no upper bound, so a sampler that makes more evaluations than it announced goes
    on composing; with start = end the window is empty. Outside it LoRAtorio, Switch and Composite predict
    with all networks merged. It has no effect on "base", "merge" and "merge-recentred".

    Scans (when 0 < top_k < networks, top_k_scope is "image" and rescan > 1) happen at the first evaluation of
    the window, at every ``rescan``-th one after it, and where a network begins or ends to act. Networks are
    evaluated at scans, and at every ``reuse``-th evaluation from the first one of the window.

    With ``looks`` full steps happen only at `places_of_looks` of the window, and where a network begins or
    ends to act; networks are placed between them. A single network is placed everywhere, without a look.

    ``settings.enabled`` is not read: the host decides whether there is a run at all.

    Attributes:
        settings: the settings of the generation.
        method: LoRAtorio or one of the usual methods, for comparison.
        networks: number of composed networks N.
        switch_every: Switch moves on to the next network after this many evaluations; at least 1.
        windows: at which evaluations each network acts; empty: all of them at every one.
        has_areas: whether networks have a part of the picture of their own; then even one alone is looked at.
    """

    settings: Settings
    method: Method
    networks: int
    switch_every: int = 5
    windows: tuple[Window, ...] = ()
    has_areas: bool = False

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ValueError(f"method is {self.method!r}; it must be one of {', '.join(get_args(Method))}")
        if type(self.switch_every) is not int or self.switch_every < 1:
            raise ValueError(f"switch_every is {self.switch_every!r}; it must be a whole number above 0")
        if self.networks < 0:
            raise ValueError(f"networks is {self.networks}; it must be at least 0")

    def acting(self, index: int, total: int) -> tuple[int, ...]:
        """The networks whose own steps include evaluation ``index`` of ``total``, ascending."""
        if not self.windows:
            return tuple(range(self.networks))
        return tuple(place for place, one in enumerate(self.windows) if one.factor(index, total) != 0)

    def plan(self, index: int, total: int) -> StepPlan:
        """What evaluation ``index`` of ``total`` does."""
        return replace(self._plan(index, total), acting=self.acting(index, total))

    def _plan(self, index: int, total: int) -> StepPlan:
        acting = self.acting(index, total)
        if self.method == "base" or not acting:
            return StepPlan("base")
        start, end = self.settings.start, self.settings.end
        first = math.ceil(start * total - _WINDOW_TOLERANCE)
        last = math.inf if end >= 1 else math.ceil(end * total - _WINDOW_TOLERANCE)
        if self.method == "merge-recentred":
            return StepPlan("merged", recentred=True)
        if self.method == "merge" or start >= end or not first <= index < last:
            return StepPlan("merged")
        if self.method == "switch":
            return StepPlan("switch", network=acting[(index // self.switch_every) % len(acting)])
        if self.method == "composite":
            return StepPlan("composite")
        choosing, place = self.choosing, index - first
        changed = place > 0 and acting != self.acting(index - 1, total)
        if self.settings.looks > 0:
            length = (total if end >= 1 else int(last)) - first
            # One network alone acts everywhere, so there is nothing to look for.
            shares = len(acting) > 1 or self.has_areas
            looks = shares and (changed or place in places_of_looks(length, self.settings.looks))
            return StepPlan("composed", scan=True) if looks else StepPlan("placed")
        scan = choosing and (changed or place % self.settings.rescan == 0)
        fresh = scan or place % self.settings.reuse == 0
        return StepPlan("composed", fresh=fresh, scan=scan or (fresh and not choosing), choosing=choosing)

    def rows(
        self,
        plan: StepPlan,
        rows: RowMap,
        *,
        guided: bool,
        base_is_given: bool = False,
        chosen: Sequence[Sequence[int]] | None = None,
    ) -> tuple[Row, ...]:
        """The rows of a step, in order: the base's, then each network's; for each source cond before uncond.

        Where the host has already made the base's predictions, those rows are part of every step.

        Args:
            plan: what the evaluation does.
            rows: the conditional rows and their images; AND sub-prompts follow the choice of their image.
            guided: whether there are unconditional rows.
            base_is_given: whether the host has already made the base's predictions.
            chosen: the chosen networks of each image, needed between scans.
        """
        # branch → (row, image) of each of its rows
        placed = {
            "cond": tuple(enumerate(rows.image_of)),
            "uncond": tuple((image, image) for image in range(rows.images)),
        }
        of_base, of_networks = self.branches(plan, guided, base_is_given)
        found = [Row("base", branch, row) for branch in of_base for row, _ in placed[branch]]
        for source in self.sources(plan):
            for branch in of_networks:
                for row, image in placed[branch]:
                    if chosen is None or not plan.choosing or plan.scan or source in chosen[image]:
                        found.append(Row(source, branch, row))
        return tuple(found)

    @cached_property
    def choosing(self) -> bool:
        """Whether the composed steps between two scans evaluate only the chosen networks."""
        settings = self.settings
        chooses = 0 < settings.top_k < self.networks and settings.top_k_scope == "image"
        return chooses and settings.rescan > 1 and settings.looks == 0

    def sources(self, plan: StepPlan) -> Sequence[Source]:
        """Which sources are evaluated besides the base."""
        if plan.mode in ("composed", "composite"):
            return plan.acting
        if plan.mode == "switch":
            return (plan.network,)
        return (plan.mode,) if plan.mode in ("merged", "placed") else ()

    def branches(self, plan: StepPlan, guided: bool, base_is_given: bool) -> tuple[Branches, Branches]:
        """Which predictions are made for the base, and for every other source."""
        both: Branches = ("cond", "uncond") if guided else ("cond",)
        if plan.mode == "placed":
            re_centred = self.settings.recenter == 1 and guided
            return ("uncond",) if re_centred else (), ("cond",) if re_centred else both
        if plan.mode in ("composed", "base"):
            asks_uncond = self.settings.recenter < 1
            return both, (both if asks_uncond else ("cond",)) if plan.fresh else ()
        if base_is_given:
            return both, both
        return ("uncond",) if plan.recentred and guided else (), both


def places_of_looks(length: int, looks: int) -> tuple[int, ...]:
    """Which evaluations of a window look where networks speak: dense early, when it is decided, sparse later.

    Look j of n comes after the fraction (q^j − 1) / (qⁿ − 1) of the window with q = `LOOK_GROWTH`. Not in the
    paper; q was chosen on development tasks. At most half of a window looks: with 4 steps, more looks cost
    more and show no more (docs/evidence.md, "Few steps").

    Args:
        length: number of evaluations in the window; 0 or more.
        looks: how many of them look; at least 1. More than half of the evaluations: half of them.

    Returns:
        Ascending, the first is 0.
    """
    found: list[int] = []
    looks = min(looks, (length + 1) // 2)
    for look in range(looks):
        place = round(length * (LOOK_GROWTH**look - 1) / (LOOK_GROWTH**looks - 1))
        found.append(max(place, found[-1] + 1) if found else 0)
    return tuple(place for place in found if place < length)


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
    windows: tuple[Window, ...] = (),
    has_areas: bool = False,
    first_pass: int = 0,
) -> tuple[int, ...]:
    """Rows that each evaluation of a generation sends through the model, known before it runs.

    Takes time in proportion to ``total`` and ``first_pass`` alone.

    Args:
        settings: the settings of the generation.
        networks: number of composed networks N (kept networks cost no rows); at least 0.
        guided: whether unconditional predictions are wanted.
        total: number of evaluations of the model (about twice the steps for second-order samplers).
        images: images in the batch; at least 1.
        cond_rows: conditional rows, where AND sub-prompts make them more than ``images``; None: ``images``.
        base_is_given: whether the host makes the base's predictions itself at every evaluation, used or not.
        method: as for ``Run``.
        switch_every: as for ``Run``.
        windows: at which evaluations each composed network acts; empty: all of them at every one.
        has_areas: whether any of them has a part of the picture of its own.
        first_pass: evaluations of the pass whose maps this one, a hires pass, goes on with; 0: there is none.

    Returns:
        For each evaluation its rows, as in the report; a plain one has ``cond_rows``, guided ``images`` more.

    Raises:
        ValueError: a number is out of its range.
    """
    cond_rows = images if cond_rows is None else cond_rows
    if total < 1 or images < 1 or cond_rows < images:
        raise ValueError(
            f"total is {total}, images {images}, cond_rows {cond_rows}; give images ≤ cond_rows, none below 1"
        )
    schedule = Schedule(settings, method, networks, switch_every, windows, has_areas)
    sizes = {"cond": cond_rows, "uncond": images}
    known: tuple[int, ...] | None = None  # the networks that the maps of the first pass are for
    for index in range(first_pass if settings.looks > 0 else 0):
        plan = schedule.plan(index, first_pass)
        known = plan.acting if plan.mode in ("composed", "placed") else known
    costs = []
    for index in range(total):
        plan = schedule.plan(index, total)
        if known is not None and plan.mode in ("composed", "placed"):
            looks = plan.acting != known and (len(plan.acting) > 1 or has_areas)
            known, plan = plan.acting, replace(plan, mode="composed" if looks else "placed", scan=looks)
        of_base, of_networks = schedule.branches(plan, guided, base_is_given)
        sources = len(schedule.sources(plan))
        if plan.choosing and not plan.scan:
            sources = min(settings.top_k, sources)
        costs.append(sum(sizes[one] for one in of_base) + sources * sum(sizes[one] for one in of_networks))
    return tuple(costs)
