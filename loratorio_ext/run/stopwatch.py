"""Time of a step, measured without making the host wait for the device."""

from __future__ import annotations

from collections.abc import Callable

import torch


def cuda_mark(device: torch.device | None) -> torch.cuda.Event | None:
    """An event in the current stream of ``device``; None while CUDA is not in use, or for other devices.

    ``device`` None: the current CUDA device.
    """
    if not torch.cuda.is_initialized() or (device is not None and device.type != "cuda"):
        return None
    event = torch.cuda.Event(enable_timing=True)
    event.record(torch.cuda.current_stream(device))
    return event


class Stopwatch:
    """Starts when it is created.

    A CUDA device works asynchronously, so the time is taken between two events in its stream, and read later.
    Elsewhere the host's clock is used. A step during which CUDA starts up is timed by the clock, and so is
    one that turns out to run on a CUDA device other than ``device``.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        device: torch.device | None = None,
        mark: Callable[[torch.device | None], torch.cuda.Event | None] = cuda_mark,
    ) -> None:
        """Start timing.

        Args:
            clock: seconds of the host.
            device: where the work will be done; None while that is unknown: the current CUDA device, if any.
            mark: records an event on a device.
        """
        self._clock = clock
        self._mark = mark
        self._began_event = mark(device)
        self._began = clock()

    def stop(self, device: torch.device) -> Callable[[], float]:
        """End the measurement of work on ``device``; the function returned gives the seconds when called."""
        seconds = self._clock() - self._began
        began = self._began_event
        same = began is not None and began.device == device
        ended = self._mark(device) if same else None
        if began is None or ended is None:
            return lambda: seconds

        def between() -> float:
            ended.synchronize()
            milliseconds: float = began.elapsed_time(ended)
            return milliseconds / 1000

        return between
