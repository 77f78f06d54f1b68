"""Time, side by side: the ways take turns, so that what disturbs the machine disturbs all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

Clock = Literal["wall", "processor"]
OnRound = Callable[[], None]


@dataclass(frozen=True)
class Timing:
    """What one way took.

    Attributes:
        wall: seconds that passed, for each round.
        processor: seconds of processor time of this process, for each round; empty on a CUDA device.
    """

    wall: tuple[float, ...]
    processor: tuple[float, ...]

    def seconds(self, clock: Clock) -> tuple[float, ...]:
        """The rounds by one of the clocks."""
        return self.processor if clock == "processor" else self.wall

    def divided(self, by: int) -> Timing:
        """For one of `by` equal parts of the work."""
        return Timing(tuple(t / by for t in self.wall), tuple(t / by for t in self.processor))


def clock_for(device: torch.device) -> Clock:
    """The clock that ratios are taken from.

    With one thread on the CPU that is the processor's time: on an idle machine it equals the time that
    passes, and on a busy one it does not count the turns of others.
    """
    return "processor" if device.type == "cpu" and torch.get_num_threads() == 1 else "wall"


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile, of at least two values."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def ratios(these: Sequence[float], those: Sequence[float]) -> tuple[float, float, float]:
    """Quartiles of the ratio within a round."""
    return quartiles([a / b for a, b in zip(these, those, strict=True)])


def take_turns(
    ways: Mapping[str, Callable[[], object]],
    rounds: int,
    device: torch.device,
    on_round: OnRound,
    *,
    warm: bool,
) -> dict[str, Timing]:
    """Time every way once in every round; each round begins with another way.

    Args:
        ways: what to time, by name.
        rounds: at least 2.
        device: where the work is done. On CUDA, events are recorded around the work and the device is waited
            for after the second one.
        on_round: called after every round, one that warms up included.
        warm: whether all ways have run already; else a round that does not count comes first.
    """
    names = list(ways)
    readings: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for index in range(int(warm), rounds + 1):
        first = index % max(len(names), 1)
        for name in names[first:] + names[:first]:
            reading = _on_cuda(ways[name], device) if device.type == "cuda" else _on_host(ways[name])
            if index:
                readings[name].append(reading)
        on_round()
    on_cuda = device.type == "cuda"
    return {
        name: Timing(tuple(wall for wall, _ in taken), () if on_cuda else tuple(cpu for _, cpu in taken))
        for name, taken in readings.items()
    }


def _on_host(way: Callable[[], object]) -> tuple[float, float]:
    wall, processor = time.perf_counter(), time.process_time()
    way()
    processor = time.process_time() - processor
    return time.perf_counter() - wall, processor


def _on_cuda(way: Callable[[], object], device: torch.device) -> tuple[float, float]:
    with torch.cuda.device(device):
        torch.cuda.synchronize()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        way()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1000, 0.0
