"""Workers by Ray (docs.ray.io): processes on this machine, or on all machines of a cluster."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from typing import Any, Generic

from loratorio_lab.evaluate.spread import B, Each, Open, R, WorkerDiedError, spread

MISSING = (
    "--workers above 1 needs Ray, which is not installed; install it with `pip install 'loratorio[ray]'` "
    "(in a checkout: `pip install -e '.[ray]'`), or leave --workers out"
)


def check_ray() -> None:
    """Raises ValueError, with the remedy, where Ray is not installed."""
    try:
        import ray  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise ValueError(MISSING) from error


def over_ray(open_drawing: Open[B, R], workers: int, note: Callable[[str], None]) -> Each[B, R]:
    """Draws batches by so many workers of Ray; see `spread`.

    Args:
        open_drawing: can be pickled; each worker calls it once, with its first batch.
        workers: 1 or more.
        note: told of every death.

    Raises:
        ValueError: Ray is not installed.
    """
    check_ray()

    def each(batches: Sequence[B]) -> Iterator[R]:
        if not batches:
            return iter(())
        # Not more than there is to do: on a shared cluster the others can use the rest.
        count = min(workers, len(batches))
        return spread(RayEngine(open_drawing, count), batches, count, note)

    return each


class RayEngine(Generic[B, R]):
    """Ray's actors as workers; see `spread.Engine`.

    With the environment variable RAY_ADDRESS ("auto" on a machine of the cluster) it uses that cluster, whose
    machines need this package and the same files at the same paths; else it starts Ray on this machine. Where
    there are graphics cards each worker gets one, or an equal part of one where there are more workers.
    """

    def __init__(self, open_drawing: Open[B, R], workers: int) -> None:
        """Start Ray; `open_drawing` and `workers` as for `over_ray`.

        Raises:
            ValueError: the cluster does not answer, or is too small.
        """
        import ray

        self._ray: Any = ray
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if not os.environ.get("RAY_ADDRESS"):
            # A machine may have fewer cores than workers are asked for; that is the user's choice here.
            cores = max(workers, os.cpu_count() or 1)
            options |= {"address": "local", "num_cpus": cores, "include_dashboard": False}
        # Ray prints what its daemon says of a death to stdout, whatever its options are; results go there.
        self._stdout = redirect_stdout(sys.stderr)
        self._stdout.__enter__()
        try:
            ray.init(**options)
            self._actor = ray.remote(**share(ray.cluster_resources(), workers))(_Worker)
        except ConnectionError as error:
            self.close()
            raise ValueError(
                f"no Ray cluster answers at RAY_ADDRESS={os.environ.get('RAY_ADDRESS')} ({error}); start one "
                "with `ray start`, set RAY_AUTH_MODE=token where it asks for a token, or unset RAY_ADDRESS"
            ) from error
        except ValueError:
            self.close()
            raise
        self._open = open_drawing

    def start(self) -> tuple[Any, Any]:
        """Begin an actor; Ray waits until there is room for it."""
        worker = self._actor.remote(self._open)
        return worker, worker.ready.remote()

    def begin(self, worker: Any, batch: B) -> Any:
        """A call of the actor."""
        return worker.draw.remote(batch)

    def ended(self, jobs: Sequence[Any]) -> Any:
        """The first call that has ended."""
        ready, _ = self._ray.wait(list(jobs), num_returns=1)
        return ready[0]

    def result(self, job: Any) -> R:
        """What the call gave; WorkerDiedError where the actor, its machine or its answer is lost."""
        errors = self._ray.exceptions
        try:
            result: R = self._ray.get(job)
        except errors.RayTaskError as error:
            raise error.cause from None  # Ray's own adds the worker's traceback to the message
        except (errors.RayActorError, errors.WorkerCrashedError, errors.ObjectLostError) as error:
            raise WorkerDiedError(str(error).strip().splitlines()[0].rstrip(".")[:300]) from error
        return result

    def close(self) -> None:
        """End the actors, and Ray where it was started here."""
        self._ray.shutdown()
        self._stdout.__exit__(None, None, None)


def share(resources: dict[str, float], workers: int) -> dict[str, float]:
    """What each of so many workers takes of a cluster: {"num_cpus": …, "num_gpus": …}.

    Raises:
        ValueError: there are no graphics cards, and fewer cores than workers.
    """
    cards, cores = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
    if cards:
        # Rounded down, because Ray counts in parts of 10,000.
        return {"num_cpus": 0, "num_gpus": math.floor(10_000 / math.ceil(workers / cards)) / 10_000}
    if cores < workers:
        raise ValueError(
            f"--workers {workers}: the cluster has {cores} cores and no graphics card; give at most {cores}"
        )
    return {"num_cpus": 1, "num_gpus": 0}


class _Worker:
    """Lives in the actor. The model is opened with the first batch, so that an error there is the batch's."""

    def __init__(self, open_drawing: Open[Any, Any]) -> None:
        self._open = open_drawing
        self._draw: Callable[[Any], Any] | None = None

    def ready(self) -> None:
        """Ends when the actor is there."""

    def draw(self, batch: Any) -> Any:
        """Draw one batch."""
        if self._draw is None:
            self._draw = self._open()
        return self._draw(batch)
