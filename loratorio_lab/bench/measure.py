"""Measures one UNet with one set of networks: first that all ways agree, then what each takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from loratorio_lab.bench.agreement import Agreement, Refused, agree
from loratorio_lab.bench.arithmetic import compose_way, step_way
from loratorio_lab.bench.steps import PLAIN_STEP, steps_for
from loratorio_lab.bench.timing import Clock, OnRound, Timing, clock_for, quartiles, ratios, take_turns
from loratorio_lab.bench.ways import LABELS, OURS, PLAIN, WAYS, Setup, Way, calls

Quartiles = tuple[float, float, float]
What = Literal["all", "ways", "steps"]


@dataclass(frozen=True)
class Figure:
    """One line of a table.

    Attributes:
        name: of the way or step.
        label: what it is.
        rows: rows through the UNet; for a step the average over the steps timed together.
        plain_rows: the same of the plain one.
        seconds: quartiles, by the clock of `Measured`.
        ratio: quartiles of the time as a multiple of the plain one's in the same round.
        wall: median of the seconds that passed.
        calls: calls of the UNet; None for steps.
        peak: see `Agreement.peaks`; None for steps too.
        error: see `Agreement.errors`; None for steps.
    """

    name: str
    label: str
    rows: float
    plain_rows: float
    seconds: Quartiles
    ratio: Quartiles
    wall: float
    calls: int | None = None
    peak: int | None = None
    error: float | None = None


@dataclass(frozen=True)
class Measured:
    """What was found for one UNet with one set of networks.

    Attributes:
        clock: what `seconds` and `ratio` are taken from.
        effect: see `Agreement.effect`.
        ways: the same predictions by every way; empty where they were not asked for.
        steps: whole steps; the same.
        compose: seconds of `method.compose` on the predictions of a step of the paper's LoRAtorio, median.
        but_model: seconds of such a step without the model, median.
        prepare: seconds that our router takes to prepare for rows that it has not seen before, median.
        held: bytes that our router then holds.
        layers: how many layers networks touch.
        refused: way → why it was not timed.
    """

    clock: Clock
    effect: float
    ways: tuple[Figure, ...]
    steps: tuple[Figure, ...]
    compose: float
    but_model: float
    prepare: float
    held: int
    layers: int
    refused: Mapping[str, Refused]

    @property
    def wrong(self) -> tuple[str, ...]:
        """Ways that gave other predictions."""
        return tuple(name for name, refused in self.refused.items() if refused.wrong)

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def measure(
    setup: Setup,
    rounds: int,
    on_round: OnRound,
    *,
    what: What = "all",
    builders: Mapping[str, Callable[[Setup], Way]] = WAYS,
    steps: Sequence[str] | None = None,
) -> Measured:
    """All of it.

    Args:
        setup: the UNet and its networks.
        rounds: at least 2.
        on_round: called after every round of the ways, and of the steps; see `rounds_of`.
        what: the ways, or whole steps, or both.
        builders: ways by name; "plain" and "router" must be among them.
        steps: names of the steps beside the plain one; None: all.

    Raises:
        ValueError: the networks change the predictions too little to tell the ways apart.
    """
    device = setup.rows.latents.device
    clock = clock_for(device)
    with torch.inference_mode():
        found = agree(setup, builders if what != "steps" else {OURS: builders[OURS]})
        held = setup.router.held_bytes
        ways = _ways(setup, found, rounds, on_round, clock) if what != "steps" else ()
        whole = _steps(setup, rounds, on_round, clock, steps) if what != "ways" else ()
        small = {
            "compose": compose_way(found.predictions, setup.sources),
            "but model": step_way(setup, found.predictions),
            **_prepare_ways(setup),
        }
        times = take_turns(small, max(rounds, 5), device, lambda: None, warm=False)
        took = {name: quartiles(timing.seconds(clock))[1] for name, timing in times.items()}
    return Measured(
        clock=clock,
        effect=found.effect,
        ways=ways,
        steps=whole,
        compose=took["compose"],
        but_model=took["but model"],
        prepare=max(0.0, took["first"] - took["later"]),
        held=held,
        layers=len(setup.networks[0]),
        refused=found.refused,
    )


def rounds_of(rounds: int, what: What) -> int:
    """How often `measure` calls `on_round`; steps need a round of warm-up."""
    return rounds * (what != "steps") + (rounds + 1) * (what != "ways")


def _ways(setup: Setup, found: Agreement, rounds: int, on_round: OnRound, clock: Clock) -> tuple[Figure, ...]:
    times = take_turns(found.ways, rounds, setup.rows.latents.device, on_round, warm=True)
    rows = len(setup.rows) * setup.sources
    return tuple(
        Figure(
            name,
            LABELS.get(name, name),
            rows,
            rows,
            *_taken(times[name], times[PLAIN], clock),
            calls=calls(name, setup),
            peak=found.peaks[name],
            error=found.errors[name],
        )
        for name in found.ways
    )


def _steps(
    setup: Setup, rounds: int, on_round: OnRound, clock: Clock, names: Sequence[str] | None
) -> tuple[Figure, ...]:
    networks, pictures = len(setup.networks), len(setup.rows) // 2
    every = {step.name: step for step in steps_for(networks)}
    steps = {name: s for name, s in every.items() if names is None or name in (PLAIN_STEP, *names)}
    ways = {name: step.way(setup) for name, step in steps.items()}
    times = take_turns(ways, rounds, setup.rows.latents.device, on_round, warm=False)
    plain = steps[PLAIN_STEP].rows(networks, pictures)
    return tuple(
        Figure(
            name,
            step.label,
            step.rows(networks, pictures),
            plain,
            *_taken(times[name].divided(step.steps), times[PLAIN_STEP], clock),
        )
        for name, step in steps.items()
    )


def _taken(timing: Timing, plain: Timing, clock: Clock) -> tuple[Quartiles, Quartiles, float]:
    seconds = timing.seconds(clock)
    return quartiles(seconds), ratios(seconds, plain.seconds(clock)), quartiles(timing.wall)[1]


def _prepare_ways(setup: Setup) -> dict[str, Callable[[], object]]:
    """A call for rows that are new to the router, and one for rows that it knows, at a small latent."""
    latents = setup.rows.latents[..., :8, :8]
    other = Setup.of(setup.unet, setup.networks, setup.rows.with_latents(latents))
    way = WAYS[OURS](other)

    def first() -> object:
        other.router.release()
        return way()

    return {"first": first, "later": way}
