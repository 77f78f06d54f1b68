"""Workers that die cost time, nothing else: every batch gives its results once, or the run says why not."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings, strategies as st

from loratorio_lab.evaluate.ray_engine import share
from loratorio_lab.evaluate.spread import TRIES, WorkerDiedError, alone, spread


@dataclass(frozen=True)
class Batch:
    number: int

    @property
    def name(self) -> str:
        return f"batch {self.number}"


@dataclass
class StandIn:
    """An engine whose jobs end in any order; `fate` says what the nth try of a batch (None: a start) does."""

    fate: Callable[[int | None, int], str] = lambda number, nth: "fine"
    order: Callable[[int], int] = lambda count: 0
    jobs: dict[int, tuple[int, Batch | None]] = field(default_factory=dict)
    alive: set[int] = field(default_factory=set)
    busy: set[int] = field(default_factory=set)
    tries: Counter[int | None] = field(default_factory=Counter)
    most: int = 0
    closed: int = 0

    def start(self) -> tuple[int, int]:
        worker = len(self.jobs) + len(self.tries) + 1000 * len(self.alive) + self.tries.total()
        self.alive.add(worker)
        self.most = max(self.most, len(self.alive))
        return worker, self._job(worker, None)

    def begin(self, worker: int, batch: Batch) -> int:
        assert worker in self.alive, "a dead worker was given a batch"
        return self._job(worker, batch)

    def _job(self, worker: int, batch: Batch | None) -> int:
        assert worker not in self.busy, "a worker was given two batches"
        self.busy.add(worker)
        job = len(self.jobs)
        self.jobs[job] = (worker, batch)
        return job

    def ended(self, jobs: Sequence[int]) -> int:
        assert jobs, "waits for nothing"
        return jobs[self.order(len(jobs))]

    def result(self, job: int) -> list[int]:
        worker, batch = self.jobs[job]
        self.busy.discard(worker)
        number = None if batch is None else batch.number
        self.tries[number] += 1
        fate = self.fate(number, self.tries[number])
        if fate == "dies":
            self.alive.discard(worker)
            raise WorkerDiedError("SIGKILL")
        if fate == "fails":
            raise ValueError(f"no network {number}")
        return [] if number is None else [number]

    def close(self) -> None:
        self.closed += 1


BATCHES = [Batch(number) for number in range(12)]


@settings(max_examples=150, deadline=None)
@given(st.data(), st.integers(0, 12), st.integers(1, 5))
def test_whoever_dies_every_batch_gives_its_results_once(
    data: st.DataObject, count: int, workers: int
) -> None:
    dying = data.draw(st.dictionaries(st.integers(0, 11), st.integers(1, TRIES - 1)))
    start_dies = data.draw(st.integers(0, TRIES - 1))

    def fate(number: int | None, nth: int) -> str:
        return "dies" if nth <= (start_dies if number is None else dying.get(number, 0)) else "fine"

    engine = StandIn(fate, lambda waiting: data.draw(st.integers(0, waiting - 1)))
    notes: list[str] = []
    got = [number for numbers in spread(engine, BATCHES[:count], workers, notes.append) for number in numbers]
    assert sorted(got) == list(range(count))
    assert engine.most <= workers
    assert len(notes) == sum(nth for number, nth in dying.items() if number < count) + min(
        start_dies, engine.tries[None]
    )
    assert engine.closed == 1


def test_a_batch_that_always_kills_its_worker_is_named_after_all_others_are_there() -> None:
    engine = StandIn(lambda number, nth: "dies" if number == 2 else "fine")
    got: list[int] = []
    with pytest.raises(RuntimeError, match=rf"'batch 2' took its worker with it {TRIES} times \(SIGKILL\)"):
        got.extend(number for numbers in spread(engine, BATCHES, 2, str) for number in numbers)
    assert sorted(got) == [number for number in range(12) if number != 2]
    assert engine.tries[2] == TRIES
    assert engine.closed == 1


def test_workers_that_never_start_end_the_run() -> None:
    engine = StandIn(lambda number, nth: "dies")
    with pytest.raises(RuntimeError, match="3 workers died while they were starting"):
        list(spread(engine, BATCHES, 1, str))
    assert engine.closed == 1


def test_an_error_is_not_tried_again_and_what_is_being_drawn_is_kept() -> None:
    engine = StandIn(lambda number, nth: "fails" if number == 1 else "fine")
    got: list[int] = []
    with pytest.raises(ValueError, match="no network 1"):
        got.extend(number for numbers in spread(engine, BATCHES, 3, str) for number in numbers)
    begun = {batch.number for _, batch in engine.jobs.values() if batch is not None}
    assert sorted([*got, 1]) == sorted(begun)
    assert len(begun) < 12
    assert (engine.tries[1], engine.closed) == (1, 1)


def test_a_reader_that_stops_ends_the_workers() -> None:
    engine = StandIn()
    results = spread(engine, BATCHES, 2, str)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert engine.closed == 1


def test_alone_opens_only_where_there_is_a_batch() -> None:
    opened = deque[int]()

    def open_drawing() -> Callable[[Batch], list[int]]:
        opened.append(1)
        return lambda batch: [batch.number]

    each = alone(open_drawing)
    assert list(each([])) == []
    assert not opened
    assert list(each(BATCHES[:3])) == [[0], [1], [2]]
    assert len(opened) == 1


@given(st.integers(1, 64), st.integers(1, 64))
def test_as_many_workers_as_asked_for_fit_on_the_cards(cards: int, workers: int) -> None:
    part = share({"GPU": float(cards), "CPU": 1.0}, workers)["num_gpus"]
    assert 0 < part <= 1
    assert int(1 / part + 1e-9) * cards >= workers
    assert round(part * 10_000) == pytest.approx(part * 10_000)


def test_without_cards_a_worker_has_a_core() -> None:
    assert share({"CPU": 4.0}, 4) == {"num_cpus": 1, "num_gpus": 0}
    with pytest.raises(ValueError, match="--workers 5: the cluster has 4 cores .* at most 4"):
        share({"CPU": 4.0}, 5)
