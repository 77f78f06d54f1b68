from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from loratorio_ext.cli.tools import DemoData, Tools
from loratorio_ext.hosts.diffusers_host import Request, Result
from loratorio_ext.method import RowMap
from loratorio_ext.networks.prompt import parse_prompt
from loratorio_ext.run import NetworkUse, Row, Run

SIDE = 16


@dataclass
class ToyEvaluation:
    """A model whose network i departs from the base in its own part of the picture."""

    index: int
    total: int
    images: int
    guided: bool
    seeds: Sequence[int]
    networks: int
    given: None = None
    noise_scale: float = 1.0

    @property
    def sigma(self) -> float:
        return 1.0 - self.index / self.total

    @property
    def rows(self) -> RowMap:
        return RowMap.one_each(self.images)

    def call_group(self, row: Row) -> int:
        return 0

    def compare_as(self, space: str) -> None:
        return None

    def predict(self, rows: Sequence[Row], strengths: Any, places: Any = None) -> tuple[torch.Tensor, int]:
        return torch.stack([self._one(row) for row in rows]), 1

    def release(self) -> None:
        pass

    def _one(self, row: Row) -> torch.Tensor:
        generator = torch.Generator().manual_seed(self.seeds[row.index] + 977 * self.index)
        base = torch.randn(4, SIDE, SIDE, generator=generator)
        sources = range(self.networks) if row.source == "merged" else [row.source]
        for source in sources:
            if isinstance(source, int) and row.branch == "cond":
                base = base + 0.9 * self._place(source) * torch.randn(4, SIDE, SIDE, generator=generator)
        return base

    def _place(self, network: int) -> torch.Tensor:
        y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
        centre = (8.0, 6.5, 12.5)[network % 3], (8.0, 8.0, 12.5)[network % 3]
        distance = ((y - centre[0]) ** 2 + (x - centre[1]) ** 2).sqrt()
        return ((distance - (5.5, 0.0, 0.0)[network % 3]).abs() < (1.6, 4.0, 3.0)[network % 3]).float() + 0.05


def drawing(seed: int, method: str) -> Image.Image:
    """A picture with something to see in it: a disc on a ground, other for every seed and method."""
    random = np.random.default_rng([seed, len(method)])
    ground, disc = random.integers(60, 230, 3), random.integers(60, 230, 3)
    y, x = np.mgrid[:64, :64]
    inside = (y - 32) ** 2 + (x - 32) ** 2 < 20**2
    checks = (((y // 8) + (x // 8)) % 2)[..., None] * 40
    return Image.fromarray(np.where(inside[..., None], disc - checks, ground).clip(0, 255).astype(np.uint8))


@dataclass
class ToyHost:
    """Keeps the contract of a host with the real run, and no model."""

    requests: list[Request] = field(default_factory=list)
    fail_at: tuple[int, int] | None = None
    error: BaseException | None = None
    default_size: tuple[int, int] = (64, 64)
    side_multiple: int = 4
    samplers: tuple[str, ...] = ("Own", "Euler")

    def sketch(self, denoised: torch.Tensor) -> Image.Image:
        return Image.new("RGB", (denoised.shape[2], denoised.shape[1]))

    def generate(
        self,
        request: Request,
        on_step: Callable[[int, int], None] | None = None,
        on_denoised: Callable[[torch.Tensor], None] | None = None,
    ) -> Result:
        self.requests.append(request)
        tags = parse_prompt(request.prompts[0]).tags
        if tags and request.network_dir is None:
            raise ValueError("give network_dir")
        for tag in tags:
            if tag.name.startswith("missing"):
                raise ValueError(f"no network {tag.name!r}; near: 'star'")
        uses = [NetworkUse(tag.name, tag.unet, tag.compose) for tag in tags]
        run = Run(request.settings, uses, method=request.method, switch_every=request.switch_every)
        for index in range(request.steps):
            if self.error is not None and self.fail_at == (len(self.requests), index):
                raise self.error
            images, guided = len(request.seeds), request.cfg > 1
            run.step(ToyEvaluation(index, request.steps, images, guided, request.seeds, len(uses)))
            if on_denoised is not None:
                on_denoised(torch.zeros(images, 4, SIDE, SIDE))
            if on_step is not None:
                on_step(index + 1, request.steps)
        pictures = [drawing(seed, request.method) for seed in request.seeds]
        latents = torch.zeros(len(pictures), 4, SIDE, SIDE)
        return Result(pictures, latents, run.report, request.sampler or "Own")


class ToyJudge:
    """Finds everything in what LoRAtorio drew, less in the others."""

    def scores(self, images: Sequence[Image.Image]) -> list[dict[str, dict[str, float]]]:
        levels = [float(np.asarray(image, dtype=np.float64).mean() / 255) for image in images]
        return [
            {
                "shape": {"star": level + 0.1, "circle": 0.9 - level, "none": 0.0},
                "background": {"grid": 1 - level, "sand": level, "none": 0.0},
                "object": {"moon": 0.9, "ball": 0.05, "none": 0.05},
            }
            for level in levels
        ]


@dataclass
class Toys:
    """The fake tools and what they were asked for."""

    host: ToyHost
    opened: list[tuple[Any, ...]]
    tools: Tools


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like the embedded world; the working folder is beside it."""
    folder = tmp_path / "demo"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    (folder / "networks").mkdir()
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def toys(world: Path) -> Toys:
    host, opened = ToyHost(), []

    def open_host(
        path: Path, device: str | None, dtype: str | None, *, offline: bool, config: Path | None = None
    ) -> ToyHost:
        opened.append((path, device, dtype, offline, config))
        return host

    tools = Tools(
        open_host=open_host, load_judge=lambda path: ToyJudge(), find_demo_data=lambda: DemoData(world)
    )
    return Toys(host, opened, tools)
