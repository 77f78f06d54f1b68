"""What all tests share: one thread of torch a process, and which tests stay together in one process."""

from __future__ import annotations

import gc
import os

import pytest

# Before torch is loaded, and inherited by what tests start. Models as small as these gain nothing by more.
os.environ.setdefault("OMP_NUM_THREADS", "1")

MOST_WORKERS = 8
# What takes longest begins first, so that no process has it left when all others are done.
FIRST = ("types", "browser-newest", "browser-4.40.0", "browser-3.41.2")


def pytest_xdist_auto_num_workers() -> int:
    """For ``-n auto``: the cores that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_WORKERS)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a file are a group, where they are in no other; a group has its fixtures in one process."""
    places: dict[str, int] = {}

    def place(item: pytest.Item) -> int:
        mark = item.get_closest_marker("xdist_group")
        name = mark.args[0] if mark else item.path.stem.removeprefix("test_")
        if mark is None:
            item.add_marker(pytest.mark.xdist_group(name))
        return places.setdefault(name, FIRST.index(name) if name in FIRST else len(FIRST) + len(places))

    items.sort(key=place)


def pytest_collection_finish() -> None:
    """What is loaded by now stays, so the collector need not look through it again and again."""
    gc.collect()
    gc.freeze()
