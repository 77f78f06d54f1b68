"""Batches drawn here, or by workers that may die: a dead one is replaced and its batch is drawn again."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeVar

TRIES: Final = 3
"""How often a batch may take its worker with it before the run ends."""


class Batch(Protocol):
    """What is drawn at once."""

    @property
    def name(self) -> str:
        """For messages; no two batches have the same."""


B = TypeVar("B", bound=Batch)
B_contra = TypeVar("B_contra", bound=Batch, contravariant=True)
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

Open = Callable[[], Callable[[B], R]]
"""Opens what draws, such as a model, and gives the function that draws one batch."""

Each = Callable[[Sequence[B]], Iterator[R]]
"""Draws batches, and gives each one's results when they are there, in any order."""


class WorkerDiedError(Exception):
    """A worker ended while it had a batch; the message says what is known of why."""


class Engine(Protocol[B_contra, R_co]):
    """Runs workers somewhere. Workers and jobs are whatever the engine likes, if they can be hashed."""

    def start(self) -> tuple[Hashable, Hashable]:
        """Begin a worker: (it, a job that ends when it is ready)."""

    def begin(self, worker: Any, batch: B_contra) -> Hashable:
        """Hand a batch to a worker that has none: the job."""

    def ended(self, jobs: Sequence[Any]) -> Hashable:
        """Wait until one of the jobs has ended: that one."""

    def result(self, job: Any) -> R_co:
        """What an ended job gave.

        Raises:
            WorkerDiedError: its worker is gone.
            Exception: what the job itself raised.
        """

    def close(self) -> None:
        """End all workers."""


def alone(open_drawing: Open[B, R]) -> Each[B, R]:
    """Everything in this process, one batch after the other; opened only where there is a batch."""

    def each(batches: Sequence[B]) -> Iterator[R]:
        return map(open_drawing(), batches) if batches else iter(())

    return each


def spread(
    engine: Engine[B, R], batches: Sequence[B], workers: int, note: Callable[[str], None]
) -> Iterator[R]:
    """Draw batches by several workers; the results of each as soon as they are there, in any order.

    Every batch gives its results once, whatever dies. A batch is only given to a worker that is ready, so
    that none waits for one that cannot start, for example on a machine that is gone.

    Args:
        engine: closed at the end, also after an error.
        batches: what is drawn.
        workers: at most so many at a time, at least 1.
        note: told of every death.

    Raises:
        RuntimeError: a batch took its worker with it `TRIES` times, or so many workers died while starting.
        Exception: what drawing a batch raised; it would do so again, so the batch is not repeated. In both
            cases no new batch is begun, and those that are being drawn are waited for.
    """
    waiting, idle = deque(batches), deque[Any]()
    running: dict[Any, tuple[Any, B | None]] = {}
    deaths: Counter[str] = Counter()
    failure: Exception | None = None
    missing = len(waiting)
    try:
        for _ in range(min(workers, missing)):
            _start(engine, running)
        while missing and (failure is None or any(batch is not None for _, batch in running.values())):
            while waiting and idle and failure is None:
                worker, given = idle.popleft(), waiting.popleft()
                running[engine.begin(worker, given)] = (worker, given)
            job = engine.ended(list(running))
            worker, batch = running.pop(job)
            try:
                result = engine.result(job)
            except WorkerDiedError as death:
                name = "no batch" if batch is None else batch.name
                deaths[name] += 1
                if failure is not None or deaths[name] == TRIES:
                    failure = failure or _given_up(batch, death)
                    continue
                note(f"a worker died with {name} ({death}); another one takes its place")
                if batch is not None:
                    waiting.append(batch)  # last, so that one that kills its workers holds up no other
                _start(engine, running)
            except Exception as error:  # noqa: BLE001 - raised below, when nothing is being drawn any more
                failure = failure or error
            else:
                idle.append(worker)
                if batch is not None:
                    missing -= 1
                    yield result
        if failure is not None:
            raise failure
    finally:
        engine.close()


def _start(engine: Engine[Any, Any], running: dict[Any, tuple[Any, Any]]) -> None:
    worker, ready = engine.start()
    running[ready] = (worker, None)


def _given_up(batch: Batch | None, death: WorkerDiedError) -> RuntimeError:
    if batch is None:
        return RuntimeError(f"{TRIES} workers died while they were starting ({death}); see Ray's own log")
    return RuntimeError(
        f"the batch {batch.name!r} took its worker with it {TRIES} times ({death}); draw it without "
        "--workers to see why, or with a smaller --batch if memory ran out"
    )
