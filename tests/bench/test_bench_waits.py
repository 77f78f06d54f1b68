"""No step asks for a value, or sends one, so that on a GPU the host runs ahead of the device."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from loratorio_lab.bench.steps import Step, steps_for
from tests.bench.waits import Functions, Operations


@pytest.mark.parametrize("step", steps_for(4), ids=lambda step: step.name)
def test_no_step_waits_for_the_device(tiny: SimpleNamespace, step: Step) -> None:
    """But a scan that chooses, once: the choice decides what the host asks for next (`Choice.of`)."""
    way = step.way(tiny.setup(4, pictures=2))
    with torch.inference_mode():
        if not step.fresh:  # preparing for networks not seen before copies them, once
            way()
        with Operations() as operations, Functions() as functions:
            way()
    if not step.fresh:
        assert operations.seen == []
    assert functions.seen == ["tolist"] * (step.settings.top_k > 0)


@pytest.mark.parametrize(
    "wait",
    [
        lambda flags: bool(flags.all()),
        lambda flags: flags.all().item(),
        lambda flags: flags.tolist(),
        lambda flags: flags.cpu(),
        lambda flags: flags[:, [0]],
        lambda flags: flags[flags],
        lambda flags: flags.nonzero(),
        lambda flags: torch.tensor([1.0]),
    ],
)
def test_a_wait_is_seen(wait: Any) -> None:
    flags = torch.ones(2, 2, dtype=torch.bool)
    with Operations() as operations, Functions() as functions:
        wait(flags)
    assert operations.seen or functions.seen
