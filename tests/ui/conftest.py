"""Records of runs: a real one of the embedded model, and ones whose maps are known to the last patch."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from loratorio_ext.run import NetworkUse, Report
from loratorio_ext.run.step_report import Observed, StepReport
from loratorio_ext.server.history import (
    FinishedRun,
    History,
    PassRecord,
    Record,
    picture_record,
    pictures_in_batches,
)
from loratorio_ext.server.options import Options
from loratorio_ext.server.presets import Presets
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.settings import Settings

DEMO = Path(__file__).resolve().parents[2] / "demo"
PROMPT = "a blue plain star on grid with moon <lora:star:1> <lora:grid:1> <lora:moon:1>"


def step(
    index: int,
    maps: Any = None,
    *,
    chosen: Sequence[Sequence[bool]] | None = None,
    image_of: Sequence[int] = (0,),
    mode: str = "composed",
    scan: bool = True,
) -> tuple[dict[str, Any], Observed | None]:
    """Figures of a step, and what it shows of its networks: maps [N, R, h, w]; chosen [N][images]."""
    images = max(image_of) + 1
    figures = {
        "index": index,
        "sigma": 1.0,
        "mode": mode,
        "scan": scan,
        "reused": False,
        "rows": 5,
        "plain_rows": 2,
        "calls": 1,
        "halvings": (),
        "image_of": tuple(image_of),
        "seconds": 0.25,
        "finite": True,
    }
    if maps is None:
        return figures, None
    weights = torch.as_tensor(np.asarray(maps, dtype=np.float32))
    per_row = weights.mean(dim=(2, 3))
    weight = torch.stack(
        [per_row[:, [row for row, one in enumerate(image_of) if one == b]].mean(1) for b in range(images)], 1
    )
    acting = torch.ones_like(weight, dtype=torch.bool) if chosen is None else torch.tensor(chosen)
    observed = Observed(
        similarity=torch.full_like(weight, 0.9),
        weight=weight,
        finite=torch.ones_like(weight, dtype=torch.bool),
        acting=acting,
        fallback=torch.tensor(False),
        maps=weights.half(),
        evaluated=None,
    )
    return figures, observed


def report_of(
    names: Sequence[str], steps: Sequence[tuple[Any, ...]], settings: Settings | None = None, **more: Any
) -> Report:
    uses = [NetworkUse(name, 0.8) for name in names]
    report = Report(settings or Settings(enabled=True), uses, more.get("method", "loratorio"), 5, "test")
    for figures, seen in steps:
        acting = torch.full((len(names), max(figures["image_of"]) + 1), figures["mode"] != "base")
        report.add(partial(StepReport.of, seen or Observed(acting), names, **figures))
    report.finished = True
    return report


def halves(loud: float = 1.0) -> np.ndarray:
    """Two networks on 4 × 4 patches: the first speaks in the left half, the second in the right one."""
    maps = np.full((2, 1, 4, 4), 1 - loud)
    maps[0, 0, :, :2] = maps[1, 0, :, 2:] = loud
    return maps


def finished(report: Report | None, prompt: str = "a cat", **more: Any) -> FinishedRun:
    picture = picture_record(Image.new("RGB", (64, 64), (120, 120, 120)), 0, 0, 7)
    passes = () if report is None else (PassRecord(0, False, report),)
    return FinishedRun(prompt, "", more.get("pictures", (picture,)), passes, more.get("comments", ()))


def images_in(html: str) -> list[np.ndarray]:
    """The pictures of a page, as numbers [height, width, 3]."""
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB")) for one in found]


@dataclass
class Bench:
    """A server to try the tab with."""

    history: History
    language: dict[str, str] = field(default_factory=dict)
    options: Options = field(default_factory=Options)
    server: Server = field(init=False)

    def __post_init__(self) -> None:
        self.server = Server(
            host="diffusers",
            version="",
            history=self.history,
            presets=Presets(None),
            networks=dict,
            refresh=lambda: None,
            options=lambda: self.options,
            words=lambda: Words(MappingProxyType(self.language)),
            obstacle=lambda: None,
            merged_on_top=False,
        )


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """The functions above, for the tests."""
    return SimpleNamespace(
        step=step, report=report_of, halves=halves, finished=finished, images_in=images_in, bench=Bench
    )


@pytest.fixture
def bench() -> Bench:
    return Bench(History(lambda: (2, 2**30)))


@pytest.fixture
def keep(bench: Bench) -> Callable[[FinishedRun], Record]:
    def keep(run: FinishedRun) -> Record:
        record = bench.history.add(run)
        assert record is not None
        return record

    return keep


@pytest.fixture(scope="module")
def real_run() -> FinishedRun:
    """Two pictures of the embedded model, six steps, three networks."""
    host_module = pytest.importorskip("loratorio_ext.hosts.diffusers_host")
    host = host_module.DiffusersHost.open(DEMO / "model")
    seeds = (1, 2)
    result = host.generate(
        host_module.Request(prompts=[PROMPT], steps=6, cfg=4.0, seeds=seeds, network_dir=DEMO / "networks")
    )
    pictures = pictures_in_batches(result.images, 2, seeds)
    return FinishedRun(PROMPT, "", pictures, (PassRecord(0, False, result.report),))
