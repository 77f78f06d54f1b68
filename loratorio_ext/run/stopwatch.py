"""Time of a step, measured without making the host wait for the device."""

from __future__ import annotations

from collections.abc import Callable

import torch


def cuda_mark() -> torch.cuda.Event | None:
    """An event in the current CUDA stream; None while CUDA is not in use."""
    if not torch.cuda.is_initialized():
        return None
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


class Stopwatch:
    """Starts when it is made.

    On a CUDA device the model runs behind the host, so the time between two events in the device's stream is
    taken; it is read later. Elsewhere the host's clock serves. A step during which CUDA starts up is timed by
    the clock.
    """

    def __init__(
        self, clock: Callable[[], float], mark: Callable[[], torch.cuda.Event | None] = cuda_mark
    ) -> None:
        """Start; ``clock`` gives seconds, ``mark`` records an event."""
        self._clock = clock
        self._mark = mark
        self._began_event = mark()
        self._began = clock()

    def stop(self, device: torch.device) -> Callable[[], float]:
        """End the measurement of work on ``device``; the function returned gives the seconds when called."""
        seconds = self._clock() - self._began
        began = self._began_event
        ended = self._mark() if device.type == "cuda" and began is not None else None
        if began is None or ended is None:
            return lambda: seconds

        def between() -> float:
            ended.synchronize()
            milliseconds: float = began.elapsed_time(ended)
            return milliseconds / 1000

        return between
