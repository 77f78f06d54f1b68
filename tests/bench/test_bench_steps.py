"""Whole steps: rows as promised, and the composition as the run makes it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from loratorio_ext.networks.router import Places
from loratorio_ext.run import NetworkUse, Run
from loratorio_lab.bench.arithmetic import compose_way
from loratorio_lab.bench.steps import PAPER, StepEvaluation, steps_for
from loratorio_lab.bench.ways import OURS, WAYS


def test_rows_of_the_steps() -> None:
    rows = {step.name: step.rows(8, 1) for step in steps_for(8)}
    assert rows == {
        "plain": 2,
        "paper": 18,
        "merged": 2,
        "peft": 2,
        "peft-fused": 2,
        "peft-masked": 2,
        "placed": 2,
        "recenter-1": 10,
        "reuse": 5.2,
        "rescan": 8.4,
        "rescan-fresh": 8.4,
    }
    assert [step.name for step in steps_for(2)] == [
        "plain",
        "paper",
        "merged",
        "peft",
        "peft-fused",
        "peft-masked",
        "placed",
        "recenter-1",
        "reuse",
    ]
    assert steps_for(1)[1].rows(1, 3) == 12


def test_the_rows_that_were_evaluated_are_those(tiny: SimpleNamespace) -> None:
    setup = tiny.setup(3, pictures=2)
    with torch.inference_mode():
        for step in (one for one in steps_for(3) if not one.peft):
            totals = step.way(setup)().report.totals
            assert totals.rows / totals.steps == step.rows(3, 2)
            assert totals.plain_rows == 4 * step.steps


def test_networks_that_change_are_prepared_anew_and_give_the_same(tiny: SimpleNamespace) -> None:
    setup = tiny.setup(3)
    with torch.inference_mode():
        steps = {step.name: step for step in steps_for(3)}
        ways = [steps[name].way(setup) for name in ("rescan", "rescan-fresh")]
        reports = [[way().report.steps for way in ways] for _ in range(2)]
    for same, fresh in reports:
        assert [step.chosen for step in same] == [step.chosen for step in fresh]
        assert [step.weight for step in same] == [step.weight for step in fresh]


def test_the_step_composes_what_the_ways_predict(tiny: SimpleNamespace) -> None:
    setup = tiny.setup(3, pictures=2)
    with torch.inference_mode():
        composed = compose_way(WAYS[OURS](setup)(), setup.sources)()
        uses = [NetworkUse(str(index), 1.0) for index in range(3)]
        prediction = Run(PAPER, uses).step(StepEvaluation(setup, setup.router, 0, 1))
    assert torch.allclose(prediction.cond, composed.cond, atol=1e-5)
    assert torch.allclose(prediction.uncond, composed.uncond, atol=1e-5)


@pytest.mark.parametrize("shape", ["shape", "xl"])
@pytest.mark.parametrize("layers", ["linear", "conv"])
def test_peft_predicts_what_our_router_does_with_all_networks(
    tiny: SimpleNamespace, layers: str, shape: str
) -> None:
    setup = tiny.setup(4, layers, pictures=2, shape=getattr(tiny, shape))
    steps = {step.name: step.way(setup) for step in steps_for(4)}
    strips = torch.eye(4).repeat_interleave(2, dim=1)[None, :, None, :].expand(4, 4, 8, 8)
    with torch.inference_mode():
        plain = setup.rows.predict(setup.unet)
        assert steps["merged"]().report.totals.rows == len(setup.rows)
        for names, places in (("peft", "peft-fused"), None), (("peft-masked",), Places(range(4), strips)):
            with setup.router.routing([(1.0,) * 4] * len(setup.rows), places):
                ours = setup.rows.predict(setup.unet)
            assert not torch.allclose(ours, plain, atol=1e-3)
            for name in names:
                assert torch.allclose(steps[name](), ours, atol=1e-5), name
        assert torch.equal(setup.rows.predict(setup.unet), plain)
