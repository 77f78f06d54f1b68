"""Whole steps of the sampler, by `run.Run`: what LoRAtorio's settings cost beside a plain step."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from loratorio_ext.networks.router import Router
from loratorio_ext.run import Method, NetworkUse, Row, Run, cost
from loratorio_ext.run.calls import RouterLike
from loratorio_ext.settings import Settings
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
        index: number of the evaluation.
        total: how many there will be.
        subprompts: none.
        guided: with guidance.
        sigma: plays no part here.
        noise_scale: the UNet predicts noise.
        base_calls: nothing has been predicted yet.
    """

    setup: Setup
    index: int
    total: int
    subprompts: None = None
    guided: bool = True
    sigma: float = 1.0
    noise_scale: float = 1.0
    base_calls: int = 0
    _known: dict[tuple[Row, ...], Callable[[], Tensor]] = field(default_factory=dict)

    @property
    def images(self) -> int:
        """Number of pictures."""
        return len(self.setup.rows) // 2

    @property
    def cond_rows(self) -> int:
        """One for each picture."""
        return self.images

    def predict(self, rows: Sequence[Row]) -> Tensor:
        """The UNet's output for these rows."""
        pattern = tuple(rows)
        if pattern not in self._known:
            places = [row.index + (self.images if row.half == "uncond" else 0) for row in rows]
            chosen = self.setup.rows.select(torch.tensor(places, device=self.setup.rows.latents.device))
            self._known[pattern] = lambda: chosen.predict(self.setup.unet)
        return self._known[pattern]()

    def call_group(self, row: Row) -> Hashable:
        """All rows may share a call."""
        return None

    def compare_as(self, space: str) -> None:
        """Predictions are compared as they are."""
        return


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
    """

    name: str
    label: str
    settings: Settings
    method: Method = "loratorio"
    steps: int = 1
    fresh: bool = False

    def rows(self, networks: int, pictures: int) -> float:
        """Rows through the UNet for a step, on average."""
        found = cost(self.settings, networks, total=self.steps, images=pictures, method=self.method)
        return sum(found) / self.steps

    def way(self, setup: Setup) -> Callable[[], Run]:
        """Does all `steps` steps, and returns their run."""
        uses = [NetworkUse(str(index), 1.0) for index in range(len(setup.networks))]
        evaluations = [StepEvaluation(setup, index, self.steps) for index in range(self.steps)]
        # Of their own, because what all hold together might be more than one keeps.
        routers = [Router(dict(setup.unet.named_modules()), setup.networks) for _ in range(1 + self.fresh)]
        router: RouterLike = routers[0]
        if self.fresh:
            router = _Forgetful(routers[0], routers[1], len(setup.rows) * setup.sources)

        def way() -> Run:
            run = Run(self.settings, uses, router, method=self.method)
            for evaluation in evaluations:
                run.step(evaluation)
            return run

        return way


class _Forgetful:
    """Two routers in one: calls of all rows, and the others, which are prepared anew after each of those."""

    def __init__(self, scans: Router, between: Router, rows: int) -> None:
        self._scans = scans
        self._between = between
        self._rows = rows

    @property
    def calls(self) -> int:
        return self._scans.calls + self._between.calls

    @contextmanager
    def routing(self, strengths: Sequence[Sequence[float]]) -> Iterator[None]:
        if len(strengths) == self._rows:
            self._between.release()
        router = self._scans if len(strengths) == self._rows else self._between
        with router.routing(strengths):
            yield

    def release(self) -> None:
        self._scans.release()
        self._between.release()


PAPER = Settings(recenter=0.5, weighting="difference", gain=0.0)
"""As in the paper; every network is asked for both halves."""

PLAIN_STEP = "plain"
PAPER_STEP = "paper"
"""Names of two of the steps below, whose times others are compared with."""


def steps_for(networks: int) -> tuple[Step, ...]:
    """The plain step first; selection only where there is something to select from."""
    usual = (
        Step(PLAIN_STEP, "plain step", Settings(), method="base"),
        Step(PAPER_STEP, "LoRAtorio, λ = 0.5", PAPER),
        Step("recenter-1", "LoRAtorio, λ = 1", replace(PAPER, recenter=1.0)),
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
