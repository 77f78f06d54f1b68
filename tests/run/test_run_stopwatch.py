"""Seconds of a step: the host's clock, or two events in the device's stream."""

from __future__ import annotations

from itertools import count

import pytest
import torch

from loratorio_ext.run.step_report import Stopwatch, cuda_mark
from tests.run.world import World, uses


class Event:
    def __init__(self, at: float, index: int = 0) -> None:
        self.at = at
        self.device = torch.device("cuda", index)
        self.waited = False

    def synchronize(self) -> None:
        self.waited = True

    def elapsed_time(self, end: Event) -> float:
        assert end.waited, "read before the device was there"
        return end.at - self.at


def test_clock_on_the_cpu() -> None:
    ticks = count(step=0.5)
    assert Stopwatch(lambda: next(ticks), None, lambda device: None).stop(torch.device("cpu"))() == 0.5


def test_events_on_cuda_are_read_late() -> None:
    events = [Event(1000.0), Event(1250.0)]
    left = iter(events)
    seconds = Stopwatch(lambda: 0.0, None, lambda device: next(left)).stop(torch.device("cuda", 0))
    assert not events[1].waited
    assert seconds() == 0.25


@pytest.mark.parametrize(
    ("marks", "device"),
    [
        ((None, Event(1.0)), torch.device("cuda", 0)),  # CUDA has started during the step
        ((Event(1.0), Event(1.0)), torch.device("cpu")),
        ((Event(1.0), Event(1.0)), torch.device("cuda", 1)),  # another one
    ],
)
def test_clock_when_no_two_events_are_of_the_model_s_device(
    marks: tuple[Event | None, Event], device: torch.device
) -> None:
    ticks, left = count(step=0.5), iter(marks)
    assert Stopwatch(lambda: next(ticks), None, lambda device: next(left)).stop(device)() == 0.5


def test_events_are_those_of_the_device_of_the_model() -> None:
    asked, second = [], torch.device("cuda", 1)

    def mark(device: torch.device | None) -> Event:
        asked.append(device)
        return Event(1000.0 * len(asked), 0 if device is None else device.index)

    assert Stopwatch(lambda: 0.0, second, mark).stop(second)() == 1.0
    assert asked == [second, second]


def test_run_times_the_device_of_its_last_prediction(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.device | None] = []
    watches = "loratorio_ext.run.run.Stopwatch"
    monkeypatch.setattr(watches, lambda clock, device: asked.append(device) or Stopwatch(clock, device))
    world = World(uses(1))
    world.report(2)
    assert asked == [None, torch.device("cpu")]


def test_no_event_without_cuda() -> None:
    if not torch.cuda.is_initialized():
        assert cuda_mark(None) is None
