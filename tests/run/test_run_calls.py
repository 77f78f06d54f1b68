"""Calls: groups, sizes, memory that does not suffice, and exceptions of the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

from loratorio_ext.run import Row, RowTooLargeError
from loratorio_ext.settings import Settings
from tests.run.world import World, uses

SHORTAGES = [
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError(
        "[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried"
    ),
    RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 12 bytes."),
    RuntimeError("MPS backend out of memory (MPS allocated: 18 GB)"),
    RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
    RuntimeError("Could not allocate tensor with 1048576 bytes. There is not enough GPU video memory"),
    MemoryError("no memory"),
]


def at_most(rows: int, error: BaseException = SHORTAGES[0]) -> Callable[[Sequence[Row]], None]:
    def check(called: Sequence[Row]) -> None:
        if len(called) > rows:
            raise error

    return check


@pytest.mark.parametrize(
    ("batch_rows", "sizes"), [(0, [8]), (8, [8]), (7, [4, 4]), (4, [4, 4]), (3, [3, 3, 2]), (5, [4, 4])]
)
def test_calls_are_of_about_the_same_size(batch_rows: int, sizes: list[int]) -> None:
    world = World(uses(3))
    report = world.report(1, Settings(looks=0, recenter=0.5, gain=0.0, batch_rows=batch_rows))
    assert [len(call) for call in world.model.calls] == sizes
    assert report.steps[0].calls == len(sizes)


def test_rows_of_different_groups_never_share_a_call() -> None:
    world = World(uses(2), images=2)
    whole = world.run().step(world.evaluation())
    world.model.calls.clear()
    chosen = Settings(looks=0, recenter=0.5, gain=0.0, batch_rows=4)
    apart = world.run(chosen).step(world.evaluation(group=lambda row: row.branch))
    branches = [{row.branch for row in call} for call in world.model.calls]
    assert branches == [{"cond"}, {"cond"}, {"uncond"}, {"uncond"}]
    assert [row.source for call in world.model.calls[:2] for row in call] == ["base", "base", 0, 0, 1, 1]
    torch.testing.assert_close(apart.cond, whole.cond)
    torch.testing.assert_close(apart.uncond, whole.uncond)


@pytest.mark.parametrize("error", SHORTAGES, ids=str)
def test_half_the_rows_when_memory_does_not_suffice(error: BaseException) -> None:
    world = World(uses(4))
    whole = world.run().step(world.evaluation())
    world.model.calls.clear()
    world.model.before_call = at_most(3, error)
    run = world.run()
    torch.testing.assert_close(run.step(world.evaluation(0)).cond, whole.cond)
    run.step(world.evaluation(1))
    assert [len(call) for call in world.model.calls] == [3, 3, 2, 2] * 2
    assert [step.halvings for step in run.report.steps] == [(5, 3), ()]
    assert [step.calls for step in run.report.steps] == [4, 4]
    assert world.model.releases == 2
    assert len(run.report.warnings) == 2
    assert "10 rows did not fit" in run.report.warnings[0] and "at most 3" in run.report.warnings[1]


@given(rows=st.integers(1, 20), batch_rows=st.integers(0, 20), count=st.integers(1, 6))
@settings(deadline=None, max_examples=30)
def test_any_memory_gives_the_same_picture(rows: int, batch_rows: int, count: int) -> None:
    world = World(uses(count), images=2, shape=(1, 2, 2))
    whole = world.run().step(world.evaluation())
    world.model.calls.clear()
    world.model.before_call = at_most(rows)
    prediction = world.run(Settings(looks=0, recenter=0.5, gain=0.0, batch_rows=batch_rows)).step(
        world.evaluation()
    )
    torch.testing.assert_close(prediction.cond, whole.cond, rtol=0, atol=1e-12)
    torch.testing.assert_close(prediction.uncond, whole.uncond, rtol=0, atol=1e-12)
    called = [row for call in world.model.calls for row in call]
    assert len(called) == len(set(called)) == 4 * (count + 1)


def test_one_row_that_does_not_fit_is_a_clear_error() -> None:
    world = World(uses(2))
    world.model.before_call = at_most(0)
    run = world.run()
    with pytest.raises(RowTooLargeError, match=r"single row of evaluation 0 .* smaller"):
        run.step(world.evaluation())
    assert run.report.steps == () and not run.report.finished


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 shapes cannot be multiplied"), KeyboardInterrupt()]
)
def test_other_exceptions_go_through_and_leave_what_was_done(error: BaseException) -> None:
    world = World(uses(2), total=5)
    run = world.run()
    before = [run.step(world.evaluation(index)) for index in range(2)]
    world.model.before_call = at_most(0, error)
    with pytest.raises(type(error)):
        run.step(world.evaluation(2))
    assert [step.index for step in run.report.steps] == [0, 1]
    assert not run.report.finished
    assert run.report.totals.rows == 12
    assert np.isfinite(before[0].cond.numpy()).all()
    world.model.before_call = lambda rows: None
    torch.testing.assert_close(run.step(world.evaluation(2)).cond, before[0].cond)


def test_exception_after_the_last_evaluation_is_not_a_finished_run() -> None:
    world = World(uses(1), total=1)
    run = world.run()
    run.step(world.evaluation(0))
    assert run.report.finished
    world.model.before_call = at_most(0, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run.step(world.evaluation(1))
    assert not run.report.finished


def test_prediction_with_missing_entries_is_refused() -> None:
    world = World(uses(1))
    evaluation = world.evaluation()
    evaluation.predict = lambda *rows: (world.model.predict(*rows)[1:], 1)
    with pytest.raises(ValueError, match="3 entries for 4 rows"):
        world.run().step(evaluation)
