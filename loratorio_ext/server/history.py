"""The last runs of a server, bounded in number and in memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import datetime

from loratorio_ext.server.record import FinishedRun, Record, now


class History:
    """Keeps the newest runs; for several threads at once.

    The newest run is kept whatever its size, unless no run is to be kept at all.
    """

    def __init__(self, limits: Callable[[], tuple[int, int]], clock: Callable[[], datetime] = now) -> None:
        """``limits`` gives (largest number of runs, largest memory in bytes); it is asked at every run."""
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._records: deque[Record] = deque()
        self._count = 0

    def keeps_runs(self) -> bool:
        """Whether a run would be kept now; where not, those that were kept are forgotten."""
        number_of_runs, _ = self._limits()
        if number_of_runs < 1:
            with self._lock:
                self._records.clear()
        return number_of_runs > 0

    def add(self, run: FinishedRun) -> Record | None:
        """Keep a run, its texts shortened, and forget what is too much; None where no run is to be kept."""
        number_of_runs, memory = self._limits()
        with self._lock:
            if number_of_runs < 1:
                self._records.clear()
                return None
            self._count += 1
            record = Record(self._count, self._clock(), run.shortened())
            # Reading a report waits for the device and lets its tensors go; sizes are known from then on.
            self._records.append(record)
            total = sum(one.size for one in self._records)
            while len(self._records) > number_of_runs or (total > memory and len(self._records) > 1):
                total -= self._records.popleft().size
            return record

    def records(self) -> tuple[Record, ...]:
        """The runs that are kept, the newest first."""
        with self._lock:
            return tuple(reversed(self._records))

    def record(self, number: int) -> Record | None:
        """One run by its number; None where it is not kept."""
        return next((one for one in self.records() if one.number == number), None)
