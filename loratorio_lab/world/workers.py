"""Stages of the training in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from typing import Any

import diffusers
import torch
import transformers

Report = Callable[[str], None]


class Workers:
    """Runs stages in processes of their own, one thread each, and hands their progress lines on."""

    def __init__(self, count: int, report: Report) -> None:
        self._report = report
        context = multiprocessing.get_context("spawn")
        self._manager = context.Manager()
        self._lines: queue.Queue[str] = self._manager.Queue()
        self._pool = ProcessPoolExecutor(count, mp_context=context, initializer=_prepare_worker)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is not None:  # a stage takes minutes: end it now, what it had finished is on the disk
            for process in multiprocessing.active_children():
                process.terminate()
        self._pool.shutdown(cancel_futures=True)
        self._manager.shutdown()

    def run(self, stages: Iterable[tuple[Callable[..., Any], tuple[Any, ...]]]) -> list[Any]:
        """Run stages side by side; their results in order. The first failure is raised."""
        futures = [self._pool.submit(stage, *arguments, self._lines.put) for stage, arguments in stages]
        waiting: set[Future[Any]] = set(futures)
        while waiting:
            done, waiting = wait(waiting, timeout=0.5)
            while not self._lines.empty():
                self._report(self._lines.get())
            for future in done:
                future.result()
        return [future.result() for future in futures]


def _prepare_worker() -> None:
    """One thread; no bars and notes of libraries; Ctrl-C is the main process's to handle."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for library in (diffusers.utils.logging, transformers.utils.logging):
        library.disable_progress_bar()
        library.set_verbosity_error()


def _end_with_parent() -> None:
    """A main process that is killed cannot end its workers; they would go on for an hour, seen by nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
