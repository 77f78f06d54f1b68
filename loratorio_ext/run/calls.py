"""Puts rows into model calls: groups, the size of a call, and smaller calls when memory runs out."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from loratorio_ext.run.evaluation import Evaluation, Row
from loratorio_ext.run.routes import Routes

# Found in the messages of allocators that raise a plain RuntimeError.
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    # cuDNN, when no algorithm finds room for its workspace.
    "Unable to find a valid cuDNN algorithm to run convolution",
    # DirectML.
    "Could not allocate tensor with",
    "MPS backend out of memory",
)


class RowTooLargeError(RuntimeError):
    """A single row does not fit into memory, so smaller calls cannot help."""


@dataclass(frozen=True)
class Called:
    """What the calls of one step gave.

    Attributes:
        predictions: one prediction [C, H, W] for each row.
        calls: number of model calls that succeeded, including the host's own for the base.
        halvings: the new limit of rows per call, for each time that memory ran out.
    """

    predictions: dict[Row, Tensor]
    calls: int
    halvings: tuple[int, ...]


class Caller:
    """Makes the model calls of a run and remembers how large a call fits into memory."""

    def __init__(self, routes: Routes, batch_rows: int, warn: Callable[[str], None]) -> None:
        """Start with calls of at most ``batch_rows`` rows; 0: no limit until memory sets one."""
        self._routes = routes
        self._limit: float = batch_rows if batch_rows > 0 else math.inf
        self._warn = warn

    def predict(self, evaluation: Evaluation, rows: Sequence[Row]) -> Called:
        """Predict all rows in as few calls as the groups and the limit allow.

        The order of the rows is kept within a group, and the calls of a group differ by at most one row in
        size as long as the limit does not change. Rows that the host has predicted itself are left out.

        Raises:
            RowTooLargeError: a single row does not fit into memory.
            UnplacedError: the host does not know the places of rows that place networks.
            ValueError: the host's prediction does not have one entry for each row.
        """
        given = evaluation.given
        calls, halvings = 0 if given is None else given.calls, []
        predictions: dict[Row, Tensor] = {}
        groups: dict[Hashable, list[Row]] = {}
        for row in rows:
            if given is not None and (given.is_placed or row.source == "base"):
                predictions[row] = (given.cond if row.branch == "cond" else given.uncond)[row.index]
            else:
                groups.setdefault(evaluation.call_group(row), []).append(row)
        for pending in groups.values():
            while pending:
                size = _balanced(len(pending), self._limit)
                called = self._call(evaluation, pending[:size])
                if called is None:
                    self._halve(evaluation, size)
                    halvings.append(int(self._limit))
                    continue
                predicted, made = called
                predictions.update(zip(pending[:size], predicted.unbind(0), strict=True))
                calls += made
                pending = pending[size:]
        return Called(predictions, calls, tuple(halvings))

    def _call(self, evaluation: Evaluation, rows: Sequence[Row]) -> tuple[Tensor, int] | None:
        """One call of the host; None when it did not fit into memory and fewer rows may."""
        try:
            predicted, calls = evaluation.predict(rows, *self._routes.of_rows(rows))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(rows) == 1:
                raise RowTooLargeError(
                    f"a single row of evaluation {evaluation.index} does not fit into memory: make the "
                    "picture smaller, free memory, or use a lower precision"
                ) from error
            return None
        if predicted.shape[0] != len(rows):
            raise ValueError(
                f"the host predicted {len(predicted)} entries for {len(rows)} rows; predict() must return "
                "one entry for each row, in their order"
            )
        return predicted, calls

    def _halve(self, evaluation: Evaluation, size: int) -> None:
        # Here the exception is gone, and with it the tensors that its traceback held.
        # What the router stacked for the larger call is of no use to a smaller one.
        evaluation.release()
        torch.cuda.empty_cache()
        self._limit = (size + 1) // 2
        self._warn(
            f"evaluation {evaluation.index}: {size} rows did not fit into memory together; from here on at "
            f"most {self._limit} rows share a call (set batch_rows to {self._limit} to begin with that)"
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory ran out, on any device."""
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


def _balanced(rows: int, limit: float) -> int:
    """Size of the next call, so that all calls for these rows are about as large."""
    return math.ceil(rows / math.ceil(rows / limit)) if limit < rows else rows
