"""Whole steps of the sampler, by `run.Run`: what LoRAtorio's settings cost beside a plain step."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from loratorio_ext.method import RowMap
from loratorio_ext.networks.router import Places, Router
from loratorio_ext.run import Method, NetworkUse, Row, RowStrengths, Run, cost
from loratorio_ext.settings import Settings
from loratorio_lab.bench.peers import Stacking, all_adapters
from loratorio_lab.bench.ways import Setup

RESCAN = 5
"""Steps from one scan of all networks to the next, as measured."""

REUSE = 5
"""Steps from one evaluation of the networks to the next, as measured."""

TOP_K = 2
"""Networks kept between scans, as measured."""


@dataclass
class StepEvaluation:
    """One evaluation of the sampler, as the run asks for it (see `run.Evaluation`).

    Attributes:
        setup: the UNet, and the rows of one source: conditional ones, then as many unconditional ones.
        router: gives rows their networks.
        index: number of the evaluation.
        total: how many there will be.
        between: a router of its own for the steps between two scans, which is prepared anew after each scan;
            None: the first serves all.
        guided: with guidance.
        sigma: plays no part here.
        noise_scale: the UNet predicts noise.
        given: nothing has been predicted yet.
    """

    setup: Setup
    router: Router
    index: int
    total: int
    between: Router | None = None
    guided: bool = True
    sigma: float = 1.0
    noise_scale: float = 1.0
    given: None = None
    _known: dict[tuple[Row, ...], Callable[[], Tensor]] = field(default_factory=dict)

    @cached_property
    def rows(self) -> RowMap:
        """One conditional row for each picture."""
        return RowMap.one_each(len(self.setup.rows) // 2)

    def predict(
        self, rows: Sequence[Row], strengths: Sequence[RowStrengths], places: Places | None = None
    ) -> tuple[Tensor, int]:
        """(the UNet's output for these rows, 1 call)."""
        with self._router_of(len(rows)).routing(strengths, places):
            return self._predicted(tuple(rows)), 1

    def _router_of(self, rows: int) -> Router:
        if self.between is None:
            return self.router
        if rows == len(self.setup.rows) * self.setup.sources:  # a scan of all networks
            self.between.release()
            return self.router
        return self.between

    def _predicted(self, rows: tuple[Row, ...]) -> Tensor:
        if rows not in self._known:
            places = [row.index + (self.rows.images if row.branch == "uncond" else 0) for row in rows]
            chosen = self.setup.rows.select(torch.tensor(places, device=self.setup.rows.latents.device))
            self._known[rows] = lambda: chosen.predict(self.setup.unet)
        return self._known[rows]()

    def call_group(self, row: Row) -> Hashable:
        """All rows may share a call."""
        return None

    def compare_as(self, space: str) -> None:
        """Predictions are compared as they are."""
        return

    def release(self) -> None:
        """Drop the networks' stacked copies."""
        for router in (self.router, self.between):
            if router is not None:
                router.release()


@dataclass(frozen=True)
class Step:
    """A way to do steps.

    Attributes:
        name: in results.
        label: in the table.
        settings: of the composition.
        method: of the run.
        steps: how many are timed together.
        fresh: the networks kept are others after every scan, so that the router prepares anew for them.
        placed: the step comes after a look, which is not timed.
        peft: how diffusers' own step, without a run, stacks all networks as adapters of peft; None: another
            step.
    """

    name: str
    label: str
    settings: Settings
    method: Method = "loratorio"
    steps: int = 1
    fresh: bool = False
    placed: bool = False
    peft: Stacking | None = None

    def rows(self, networks: int, pictures: int) -> float:
        """Rows through the UNet for a step, on average."""
        if self.placed:
            return cost(self.settings, networks, total=2, images=pictures)[1]
        found = cost(self.settings, networks, total=self.steps, images=pictures, method=self.method)
        return sum(found) / self.steps

    def way(self, setup: Setup) -> Callable[[], Run | Tensor]:
        """Does all `steps` steps, and returns their run (of peft's step, the prediction)."""
        if self.peft:
            return all_adapters(setup.unet, setup.networks, setup.rows, self.peft)
        uses = [NetworkUse(str(index), 1.0) for index in range(len(setup.networks))]
        # Of their own, because what all hold together might be more than one keeps.
        modules = dict(setup.unet.named_modules())
        router = Router(modules, setup.networks)
        between = Router(modules, setup.networks) if self.fresh else None
        evaluations = [
            StepEvaluation(setup, router, index, self.steps, between) for index in range(self.steps)
        ]

        looked: list[Run] = []
        latents = setup.rows.latents

        def way() -> Run:
            run = Run(self.settings, uses, method=self.method)
            if self.placed and not looked:
                looked.append(Run(self.settings, uses))
                looked[0].step(evaluations[0])
            for one in looked:
                run.go_on_from(one, (latents.shape[-2], latents.shape[-1]))
            for evaluation in evaluations:
                run.step(evaluation)
            return run

        return way


PAPER = Settings(recenter=0.5, weighting="difference", gain=0.0, looks=0)
"""As in the paper; every network is asked for both halves."""

_PEFT: Final[Sequence[tuple[str, str, Stacking]]] = (
    ("peft", "as adapters of peft", "unfused"),
    ("peft-fused", "fused into the weights by peft", "fused"),
    ("peft-masked", "as adapters of peft with a mask each, by hooks", "masked"),
)

PLAIN_STEP = "plain"
PAPER_STEP = "paper"
LOOK_STEP = "recenter-1"
PLACED_STEP = "placed"
"""Names of some of the steps below, whose times others are compared with."""


def steps_for(networks: int) -> tuple[Step, ...]:
    """The plain step first; selection only where there is something to select from."""
    usual = (
        Step(PLAIN_STEP, "plain step", Settings(), method="base"),
        Step(PAPER_STEP, "LoRAtorio, λ = 0.5", PAPER),
        Step("merged", "all networks in every row, as merging them", Settings(), method="merge"),
        *(
            Step(name, f"all networks in every row, {label}", Settings(), method="merge", peft=stacking)
            for name, label, stacking in _PEFT
        ),
        Step(PLACED_STEP, "LoRAtorio, networks placed (between two looks)", Settings(looks=1), placed=True),
        Step(LOOK_STEP, "LoRAtorio, λ = 1 (a look)", replace(PAPER, recenter=1.0)),
        Step("reuse", f"LoRAtorio, networks every {REUSE} steps", replace(PAPER, reuse=REUSE), steps=REUSE),
    )
    if networks <= TOP_K:
        return usual
    kept = replace(PAPER, top_k=TOP_K, rescan=RESCAN)
    label = f"LoRAtorio, top {TOP_K} of {networks}, rescan {RESCAN}"
    return (
        *usual,
        Step("rescan", f"{label}, the same ones", kept, steps=RESCAN),
        Step("rescan-fresh", f"{label}, others at every scan", kept, steps=RESCAN, fresh=True),
    )
