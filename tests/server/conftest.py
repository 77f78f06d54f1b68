from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from loratorio_ext.run import NetworkUse, Report
from loratorio_ext.run.step_report import Observed, StepReport
from loratorio_ext.server.history import FinishedRun, PassRecord, PictureRecord
from loratorio_ext.settings import Settings

MakeRun = Callable[..., FinishedRun]


def report_of(side: int, steps: int = 1, images: int = 1, networks: int = 1) -> Report:
    """Composed networks with maps of side × side float16 at each step."""
    uses = [NetworkUse(f"anna {number}" if number else "anna", 1.0) for number in range(networks)]
    report = Report(Settings(enabled=True), uses, "loratorio", 5, "a test")
    for index in range(steps):
        figures = {
            "index": index,
            "sigma": 1.0,
            "mode": "composed",
            "scan": True,
            "reused": False,
            "rows": 4,
            "plain_rows": 2,
            "calls": 1,
            "halvings": (),
            "image_of": tuple(range(images)),
            "seconds": 0.5,
            "finite": True,
        }
        one = torch.ones(networks, images)
        observed = Observed(
            similarity=one,
            weight=one,
            finite=one.bool(),
            acting=one.bool(),
            fallback=torch.tensor(False),
            maps=torch.ones(networks, images, side, side).half(),
            evaluated=None,
        )
        report.add(partial(StepReport.of, observed, report.composed, **figures))
    return report


@pytest.fixture(scope="session")
def make_report() -> Callable[..., Report]:
    """See above."""
    return report_of


@pytest.fixture(scope="session")
def make_run() -> MakeRun:
    """make_run(bytes of the picture, side of the map) → a run with bytes + 2·side² bytes of them."""

    def make(picture: int = 10, side: int = 2, prompt: str = "a cat") -> FinishedRun:
        pictures = (PictureRecord(0, 0, 1, bytes(picture)),)
        return FinishedRun(prompt, "Steps: 1", pictures, (PassRecord(0, False, report_of(side)),))

    return make
