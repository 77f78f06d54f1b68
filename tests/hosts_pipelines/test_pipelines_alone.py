"""Every family: one adapter is diffusers' own picture, two are composed, and nothing is left behind."""

from __future__ import annotations

import pytest
import torch

from loratorio_ext.hosts.pipelines import compose
from loratorio_ext.run.schedule import places_of_looks
from loratorio_ext.settings import Settings
from tests.hosts_pipelines.models import MODELS, STEPS


@pytest.mark.parametrize("name", MODELS)
def test_one_adapter_is_that_of_diffusers(name: str) -> None:
    model = MODELS[name]()
    plain = model.draw(num_inference_steps=3)
    model.load("a", 1)
    model.load("b", 2)
    model.pipeline.set_adapters(["a"], [0.7])
    expected = model.draw(num_inference_steps=3)
    scale = float(expected.abs().max())
    assert (plain - expected).abs().max() > 1e-2 * scale
    for looks in (0, 4):
        with compose(model.pipeline, ["a"], settings=Settings(recenter=0.0, looks=looks)) as composition:
            got = model.draw(num_inference_steps=3)
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-4 * scale)
        report = composition.report
        assert report is not None
        assert report.finished
        assert [(use.name, use.strength) for use in report.uses] == [("a", pytest.approx(0.7))]
        assert report.warnings == ()


@pytest.mark.parametrize("name", MODELS)
def test_two_adapters_are_composed_and_afterwards_all_is_as_before(name: str) -> None:
    model = MODELS[name]()
    model.load("a", 1)
    model.load("b", 2)
    model.pipeline.set_adapters(["a", "b"], [0.7, 1.0])
    merged = model.draw()
    with compose(model.pipeline) as composition:
        first, second = model.draw(), model.draw()
    report = composition.report
    assert report is not None
    looks = places_of_looks(STEPS, Settings().looks)
    assert [step.index for step in report.steps if step.mode == "composed"] == list(looks)
    assert all(step.rows == step.plain_rows for step in report.steps if step.mode == "placed")
    assert report.warnings == ()
    assert report.composed == ("a", "b")
    assert (first - merged).abs().max() > 1e-2 * merged.abs().max()
    assert torch.equal(first, second)
    assert torch.equal(model.draw(), merged)
