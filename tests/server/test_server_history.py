"""The last runs: never more than the limits allow, the newest whatever its size."""

from __future__ import annotations

import threading
import tracemalloc
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from hypothesis import given, settings, strategies as st

from loratorio_ext.server.history import LONGEST_TEXT, FinishedRun, History, PassRecord, Record

NOON = datetime(2024, 5, 17, 12, tzinfo=timezone.utc)


@settings(max_examples=60, deadline=None)
@given(
    runs=st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 30)), max_size=12),
    limits=st.lists(st.tuples(st.integers(-1, 5), st.integers(0, 15_000)), min_size=1, max_size=4),
)
def test_never_more_than_the_limits_allow(
    runs: list[tuple[int, int]], limits: list[tuple[int, int]], make_run: Any
) -> None:
    """Limits change while the server runs."""
    now = limits[0]
    history = History(lambda: now)
    kept = 0
    empty = Record(1, NOON, make_run(0, 0)).size
    for place, (picture, side) in enumerate(runs):
        now = limits[place % len(limits)]
        record = history.add(make_run(picture, side))
        number, memory = now
        records = history.records()
        assert (record is None) == (number < 1) == (not history.keeps_runs())
        kept += record is not None
        assert len(records) <= max(number, 0)
        assert sum(one.size for one in records) <= memory or len(records) == 1
        if record is not None:
            assert records[0] is record and record.number == kept
            assert record.size == empty + picture + 2 * side**2
            assert [one.number for one in records] == sorted((one.number for one in records), reverse=True)


def test_nothing_is_forgotten_before_it_must_be(make_run: Any) -> None:
    run = make_run(10, 1)
    size = Record(1, NOON, run).size
    history = History(lambda: (3, 3 * size), lambda: NOON)
    for _ in range(3):
        history.add(run)
    assert [one.number for one in history.records()] == [3, 2, 1]
    history.add(run)
    assert [one.number for one in history.records()] == [4, 3, 2]
    history.add(make_run(11 + size, 1))
    assert [one.number for one in history.records()] == [5]
    assert history.records()[0].time == NOON


def test_texts_and_the_numbers_of_steps_count(make_report: Any) -> None:
    """As much as Python really holds, with many networks, steps and pictures."""
    tracemalloc.start()
    try:
        report = make_report(side=1, steps=20, images=4, networks=100)
        prompt, infotext = "a" * 9000, "é" * 9000
        history = History(lambda: (9, 10**9))
        history.add(FinishedRun(prompt, infotext, (), (PassRecord(0, False, report),), ("b" * 1000,)))
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    counted = history.records()[0].size
    assert 0.8 * held < counted < 1.3 * held
    for shorter in (replace(history.records()[0].run, passes=()), FinishedRun("", "", (), ())):
        assert Record(1, NOON, shorter).size < 0.2 * counted


def test_texts_without_end_are_cut(make_run: Any) -> None:
    history = History(lambda: (9, 10**9))
    infotext = "a prompt " * 10**5 + "\nSteps: 20, LoRAtorio enabled: True"
    comments = tuple("c" * 10**5 for _ in range(1000))
    run = replace(make_run(), prompt="b" * 10**7, infotext=infotext, comments=comments)
    record = history.add(run)
    assert record is not None and record.size < 400_000
    kept = record.run
    assert len(kept.prompt) <= LONGEST_TEXT and len(kept.infotext) <= LONGEST_TEXT
    assert kept.prompt.startswith("bbb") and " … " in kept.prompt
    assert kept.infotext.startswith("a prompt") and kept.infotext.endswith("LoRAtorio enabled: True")
    assert (kept.pictures, kept.passes) == (run.pictures, run.passes)
    short = make_run(prompt="b" * LONGEST_TEXT)
    assert short.shortened() == short


def test_a_run_by_its_number(make_run: Any) -> None:
    history = History(lambda: (2, 10**6))
    records = [history.add(make_run()) for _ in range(3)]
    assert history.record(3) is records[2] and history.record(2) is records[1]
    assert history.record(1) is None and history.record(0) is None and history.record(99) is None


def test_switched_off_it_forgets(make_run: Any) -> None:
    most = 2
    history = History(lambda: (most, 10**6))
    history.add(make_run())
    assert history.keeps_runs() and history.records()
    most = 0
    assert not history.keeps_runs() and history.records() == ()
    most = 1
    record = history.add(make_run())
    assert record is not None and record.number == 2  # numbers are not given twice


def test_several_threads(make_run: Any) -> None:
    history = History(lambda: (50, 10**6))
    run = make_run()
    threads = [threading.Thread(target=lambda: [history.add(run) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one.number for one in history.records()] == list(range(80, 30, -1))
