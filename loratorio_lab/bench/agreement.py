"""No way is timed before it gives the predictions that our router gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from loratorio_lab.bench.memory import peak_bytes
from loratorio_lab.bench.ways import OURS, PLAIN, Setup, Way, is_plain

TOLERANCES: Final[Mapping[torch.dtype, float]] = MappingProxyType(
    {torch.float32: 1e-4, torch.float16: 0.03, torch.bfloat16: 0.1}
)
"""Largest relative difference that rounding explains; merging rounds the weights themselves."""

# What libraries raise for a model or an argument that they cannot handle.
_FAILURES: Final = (RuntimeError, ValueError, TypeError, AttributeError, KeyError)


@dataclass(frozen=True)
class Refused:
    """Why a way is not timed.

    Attributes:
        reason: a sentence without its end.
        wrong: it gave other predictions; False: it did not work at all.
    """

    reason: str
    wrong: bool


@dataclass(frozen=True, eq=False)
class Agreement:
    """Ways of one setup.

    Attributes:
        ways: those that agree, ready to be timed.
        peaks: way → memory at the peak of making it and of its first call, beyond what is held before, in
            bytes; what it goes on holding is in it. None: not measured.
        errors: way → relative difference from our router's predictions; of plain ways, from its base rows.
        refused: way → why it is left out.
        effect: how much a network changes the base's prediction, relative, on average.
        predictions: our router's, [sources · rows, C, H, W].
    """

    ways: Mapping[str, Way]
    peaks: Mapping[str, int | None]
    errors: Mapping[str, float]
    refused: Mapping[str, Refused]
    effect: float
    predictions: Tensor


def relative_error(found: Tensor, wanted: Tensor) -> float:
    """|found - wanted| / |wanted|, Euclidean norms over everything; infinite where a value is not finite."""
    if found.shape != wanted.shape:
        return float("inf")
    found, wanted = found.double(), wanted.double()
    error = float((found - wanted).norm() / wanted.norm())
    return error if error == error else float("inf")


class _First:
    """Makes a way and calls it once."""

    way: Way
    predictions: Tensor

    def __init__(self, setup: Setup, build: Callable[[Setup], Way]) -> None:
        self._setup = setup
        self._build = build

    def __call__(self) -> None:
        self.way = self._build(self._setup)
        self.predictions = self.way()


def agree(setup: Setup, builders: Mapping[str, Callable[[Setup], Way]]) -> Agreement:
    """Make every way and compare what it predicts.

    Raises:
        ValueError: the networks change the predictions too little to see whether a way leaves them out.
    """
    if PLAIN in builders:
        builders[PLAIN](setup)()  # what a process allocates once and keeps is in nobody's peak
    ours = _First(setup, builders[OURS])
    peak_of_ours = peak_bytes(ours, setup.rows.latents.device)
    wanted = ours.predictions
    base = wanted[: len(setup.rows)]
    tolerance = TOLERANCES[wanted.dtype]
    each = wanted[len(base) :].unflatten(0, (-1, len(base)))
    effect = sum(relative_error(one, base) for one in each) / len(each)
    if not 3 * tolerance < effect < float("inf"):
        raise ValueError(
            f"the networks change the predictions by a part of {effect:.1e}; in {wanted.dtype} that does not "
            "show whether a way leaves them out: use float32, or another size"
        )
    ways: dict[str, Way] = {OURS: ours.way}
    peaks = {OURS: peak_of_ours}
    errors = {OURS: 0.0}
    refused: dict[str, Refused] = {}
    for name, build in builders.items():
        if name == OURS:
            continue
        first = _First(setup, build)
        try:
            peak = peak_bytes(first, setup.rows.latents.device)
        except _FAILURES as error:
            if name == PLAIN:
                raise
            text = " ".join(str(error).split())[:200]
            refused[name] = Refused(f"it failed with {type(error).__name__}: {text}", wrong=False)
            continue
        target = base.repeat(setup.sources, 1, 1, 1) if is_plain(name) else wanted
        errors[name] = relative_error(first.predictions, target)
        if errors[name] <= tolerance:
            ways[name], peaks[name] = first.way, peak
        else:
            reason = f"its predictions differ by a part of {errors[name]:.1e}, allowed is {tolerance:g}"
            refused[name] = Refused(reason, wrong=True)
    ways = {name: ways[name] for name in builders if name in ways}
    return Agreement(ways, peaks, errors, refused, effect, wanted)
