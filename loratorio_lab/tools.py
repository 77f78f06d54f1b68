"""What the laboratory's commands work with, besides the extension's tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from loratorio_ext.cli.tools import Tools, hush_libraries

if TYPE_CHECKING:
    from loratorio_ext.hosts.diffusers_host import DiffusersHost, Request


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


def hard_masks(host: DiffusersHost, request: Request, words: Sequence[str]) -> Request:
    """The request with masks from the cross-attention of these words; see `attention_masks.of_attention`."""
    from loratorio_lab.evaluate.attention_masks import of_attention

    prompts = list(request.prompts) * (len(request.seeds) // len(request.prompts))
    maps, _ = of_attention(host, replace(request, prompts=prompts), [words] * len(prompts))
    return replace(request, maps=maps)


@dataclass(frozen=True)
class LabTools(Tools):
    """The real tools; tests hand over others."""

    hard_masks: Callable[[DiffusersHost, Request, Sequence[str]], Request] | None = hard_masks
    train: Train = train
    over_workers: Callable[[Any, int, Callable[[str], None]], Any] = over_workers
