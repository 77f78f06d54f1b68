"""Seconds of a step: the host's clock, or two events in the device's stream."""

from __future__ import annotations

from itertools import count

import torch

from loratorio_ext.run.stopwatch import Stopwatch, cuda_mark


class Event:
    def __init__(self, at: float) -> None:
        self.at = at
        self.waited = False

    def synchronize(self) -> None:
        self.waited = True

    def elapsed_time(self, end: Event) -> float:
        assert end.waited, "read before the device was there"
        return end.at - self.at


def test_clock_on_the_cpu() -> None:
    ticks = count(step=0.5)
    assert Stopwatch(lambda: next(ticks), lambda: None).stop(torch.device("cpu"))() == 0.5


def test_events_on_cuda_are_read_late() -> None:
    events = [Event(1000.0), Event(1250.0)]
    left = iter(events)
    seconds = Stopwatch(lambda: 0.0, lambda: next(left)).stop(torch.device("cuda", 0))
    assert not events[1].waited
    assert seconds() == 0.25


def test_clock_when_cuda_starts_during_the_step_or_the_model_is_elsewhere() -> None:
    ticks, marks = count(step=0.5), iter([None, Event(1.0)])
    assert Stopwatch(lambda: next(ticks), lambda: next(marks)).stop(torch.device("cuda", 0))() == 0.5
    ticks = count(step=0.5)
    assert Stopwatch(lambda: next(ticks), lambda: Event(1.0)).stop(torch.device("cpu"))() == 0.5


def test_no_event_without_cuda() -> None:
    if not torch.cuda.is_initialized():
        assert cuda_mark() is None
