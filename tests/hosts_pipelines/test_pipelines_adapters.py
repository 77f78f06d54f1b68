"""Kinds of adapters, and strengths of every sort, against diffusers' own picture with one adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import BOFTConfig, LoHaConfig, LoKrConfig, LoraConfig, inject_adapter_in_model

from loratorio_ext.hosts.pipelines import compose
from loratorio_ext.settings import Settings
from tests.hosts_diffusers.pipelines import write_network
from tests.hosts_pipelines.models import MODELS, Model

NETWORKS_UNCOND = Settings(recenter=0.0)


def check_alone(model: Model, **more: Any) -> None:
    """Composing the adapter "a" is diffusers' own picture with it, and not the one without."""
    with torch.no_grad():
        expected = model.draw(num_inference_steps=2, **more)
        with compose(model.pipeline, ["a"], settings=NETWORKS_UNCOND):
            got = model.draw(num_inference_steps=2, **more)
    model.pipeline.disable_lora()
    plain = model.draw(num_inference_steps=2, **more)
    scale = float(expected.abs().max())
    assert (plain - expected).abs().max() > 1e-2 * scale
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize(
    "more",
    [
        {"use_dora": True},
        {"use_rslora": True},
        {"lora_bias": True, "target_modules": ["to_q", "to_v", "proj_in"]},
    ],
    ids=lambda more: next(iter(more)),
)
def test_lora_and_its_relatives(more: dict[str, Any]) -> None:
    model = MODELS["sd"]()
    model.load("a", 1, **more)
    with torch.no_grad():
        for name, parameter in model.denoiser.named_parameters():
            if "magnitude" in name:
                parameter.mul_(1.3)
            elif "lora_B" in name and name.endswith("bias"):
                parameter.normal_()
    model.pipeline.set_adapters(["a"], [0.6])
    check_alone(model)


@pytest.mark.parametrize("kind", [LoHaConfig, LoKrConfig])
def test_loha_and_lokr(kind: Any) -> None:
    model = MODELS["sd"]()
    torch.manual_seed(1)
    config = kind(r=4, alpha=8, target_modules=["to_q", "to_v", "conv1"], init_weights=False)
    inject_adapter_in_model(config, model.denoiser, adapter_name="a")
    model.denoiser._hf_peft_config_loaded = True
    check_alone(model)


def test_a_kind_that_is_not_low_rank_is_refused_by_name() -> None:
    model = MODELS["sd"]()
    config = BOFTConfig(boft_block_size=4, target_modules=["to_q"], init_weights=False)
    inject_adapter_in_model(config, model.denoiser, adapter_name="a")
    before = model.draw(num_inference_steps=1)
    with (
        pytest.raises(ValueError, match="adapter 'a' .* of the kind boft"),
        compose(model.pipeline),
    ):
        pass
    assert torch.equal(model.draw(num_inference_steps=1), before)


def test_strengths_of_blocks_and_of_a_call_act() -> None:
    model = MODELS["sd"]()
    model.load("a", 1)
    model.pipeline.set_adapters(["a"], [{"unet": {"down": 0.3, "mid": 0.9, "up": 1.2}}])
    check_alone(model, cross_attention_kwargs={"scale": 0.8})


def test_an_adapter_of_strength_0_adds_nothing_and_can_be_composed() -> None:
    model = MODELS["sd"]()
    plain = model.draw(num_inference_steps=2)
    model.load("a", 1)
    model.pipeline.set_adapters(["a"], [0.0])
    with compose(model.pipeline):
        got = model.draw(num_inference_steps=2)
    torch.testing.assert_close(got, plain, rtol=0, atol=1e-5)


def test_a_network_file_with_a_text_part_acts_merged_in_the_text_encoder(tmp_path: Path) -> None:
    model = MODELS["sd"]()
    file = write_network(model.pipeline, tmp_path / "a.safetensors", seed=1)
    other = write_network(model.pipeline, tmp_path / "b.safetensors", seed=20)
    texts = write_network(model.pipeline, tmp_path / "words.safetensors", seed=30, unet=False)
    for name, path in (("a", file), ("b", other), ("words", texts)):
        model.pipeline.load_lora_weights(path, adapter_name=name)
    model.pipeline.set_adapters(["a", "words"], [0.8, 0.5])
    expected = model.draw(num_inference_steps=2)
    with compose(model.pipeline, ["a", "words"], settings=NETWORKS_UNCOND) as composition:
        got = model.draw(num_inference_steps=2)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
    report = composition.report
    assert report is not None
    assert report.composed == ("a",)
    assert "the parts of 'a' in text encoders act merged, as in the pipeline" in report.warnings
    assert any("'words' has no part in the denoiser" in warning for warning in report.warnings)
    assert torch.equal(model.draw(num_inference_steps=2), expected)


def test_a_kept_adapter_acts_everywhere() -> None:
    """Composing b over a model that a changes is what fusing a first gives."""
    model = MODELS["sd"]()
    model.load("a", 1)
    model.load("b", 2)
    model.load("c", 3)
    settings = Settings(looks=2)
    with compose(model.pipeline, keep=["a"], settings=settings) as composition:
        got = model.draw(num_inference_steps=4)
    assert composition.report is not None
    assert composition.report.composed == ("b", "c")
    model = MODELS["sd"]()
    model.load("a", 1)
    model.pipeline.fuse_lora()
    model.pipeline.unload_lora_weights()
    model.load("b", 2)
    model.load("c", 3)
    with compose(model.pipeline, ["b", "c"], settings=settings):
        expected = model.draw(num_inference_steps=4)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


def test_an_adapter_that_rests_is_named() -> None:
    model = MODELS["sd"]()
    for number, name in enumerate("ab"):
        model.load(name, number)
    model.pipeline.set_adapters(["a", "b"])
    with compose(model.pipeline, ["a"]) as composition:
        model.draw(num_inference_steps=1)
    assert composition.report is not None
    assert composition.report.warnings == (
        "adapter 'b' is active in the pipeline, but neither composed nor kept: it rests",
    )


def test_strengths_are_read_for_every_picture() -> None:
    model = MODELS["sd"]()
    model.load("a", 1)
    expected = []
    for strength in (0.4, 1.0):
        model.pipeline.set_adapters(["a"], [strength])
        expected.append(model.draw(num_inference_steps=1))
    with compose(model.pipeline, settings=NETWORKS_UNCOND):
        for strength, picture in zip((0.4, 1.0), expected, strict=True):
            model.pipeline.set_adapters(["a"], [strength])
            torch.testing.assert_close(model.draw(num_inference_steps=1), picture, rtol=0, atol=1e-4)


def test_an_adapter_loaded_meanwhile_does_not_act_twice() -> None:
    model = MODELS["sd"]()
    model.load("a", 1)
    with compose(model.pipeline), pytest.raises(RuntimeError, match="would act twice"):
        model.denoiser.add_adapter(LoraConfig(r=2, target_modules=["to_k"]), adapter_name="late")
        model.draw(num_inference_steps=1)
