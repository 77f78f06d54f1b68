"""What the laboratory's commands work with, besides the extension's tools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from loratorio_ext.cli.tools import Tools, hush_libraries


class Train(Protocol):
    """The recipe of the embedded world; see `world.train.train`."""

    def __call__(
        self, out: Path, *, seed: int, workers: int, quick: bool, report: Callable[[str], None]
    ) -> object:
        """Train everything into `out`."""


def train(out: Path, *, seed: int, workers: int, quick: bool, report: Callable[[str], None]) -> object:
    """Train the embedded world into `out`."""
    hush_libraries()
    from loratorio_lab.world.train import train as train_world

    return train_world(out, seed=seed, workers=workers, quick=quick, report=report)


def over_workers(open_drawing: Any, workers: int, note: Callable[[str], None]) -> Any:
    """Draw batches by several workers; see `evaluate.ray_engine.over_ray`."""
    from loratorio_lab.evaluate.ray_engine import over_ray

    return over_ray(open_drawing, workers, note)


@dataclass(frozen=True)
class LabTools(Tools):
    """The real tools; tests hand over others."""

    train: Train = train
    over_workers: Callable[[Any, int, Callable[[str], None]], Any] = over_workers
