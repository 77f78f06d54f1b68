"""The passes of one picture (first, hires, after a refiner): what is loaded, merged and said in each."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from loratorio_ext.hosts.webuis.adapter import UnetLayers

PROMPT = "a cat <lora:te:1> <lora:lin:1>"
ALONE = {"recenter": 0.0}


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.allclose(a, b, rtol=1e-3, atol=2e-4))


@pytest.mark.parametrize("fields", [{}, {"n_iter": 2}])
@pytest.mark.parametrize("settings", [None, {}, {"start": 0.5}])
def test_models_can_always_be_moved_off_the_device(
    webui: SimpleNamespace, draw: Any, settings: Any, fields: Any
) -> None:
    """Memory management forgets a loaded patcher that nobody holds, and its weights stay."""
    draw([PROMPT] * fields.get("n_iter", 1), settings, **fields)
    # Between two batches Forge itself lets go of the patchers that extensions have put in place.
    stuck = [one for one in webui.memory_management.stuck if "n_iter" not in fields or one != "KModel"]
    assert stuck == []


def test_a_refiner_in_the_middle_is_bound_anew(webui: SimpleNamespace, draw: Any) -> None:
    first = webui.shared.sd_model
    second = webui.engine_class("second", 5)
    refine = refined(webui, second)
    merged, _ = draw("a cat <lora:te:1> <lora:lin:1>", refine=refine)
    webui.shared.sd_model = first
    composed, p = draw("a cat <lora:te:1>", ALONE, refine=refine)
    webui.shared.sd_model = first
    alone, _ = draw("a cat <lora:te:1>", refine=refine)
    assert close(composed, alone) and not close(composed, merged) and p.comments == {}


def refined(webui: SimpleNamespace, second: Any) -> Any:
    """A refiner that comes in at the third evaluation."""

    def refine(denoiser: Any) -> bool:
        if denoiser.step != 2 or webui.shared.sd_model is second:
            return False
        p = denoiser.p
        webui.shared.sd_model = second
        webui.processing.activate(p, p.extra_network_data)
        p.setup_conds()
        c, uc = p.get_conds()
        denoiser.sampler.sampler_extra_args.update(cond=c, uncond=uc)
        second.forge_objects.unet = second.forge_objects_after_applying_lora.unet
        webui.processing.sampling_prepare(second.forge_objects.unet, torch.zeros(1, 4, 8, 8))
        return True

    return refine


def test_a_refiner_that_no_network_fits_is_loaded_and_said(
    webui: SimpleNamespace, draw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = webui.shared.sd_model, webui.engine_class("second", 5)
    generation = sys.modules["loratorio_ext.hosts.forge.generation"]
    original = generation.layers_of

    def none_of_the_second(one: Any, model: Any) -> Any:
        return UnetLayers({}, {}, ()) if model is second.k_model else original(one, model)

    monkeypatch.setattr(generation, "layers_of", none_of_the_second)
    _, p = draw("a cat <lora:lin:1>", ALONE, refine=refined(webui, second))
    loaded = [one.model for one in webui.memory_management.current_loaded_models]
    assert any(one is second.forge_objects.unet for one in loaded)
    assert any("composing failed at call 3 of 4 (no network fits this model)" in text for text in p.comments)
    assert p.extra_generation_params["LoRAtorio stopped at"] == "call 3 of 4"
    assert p.extra_generation_params["LoRAtorio enabled"] == "True"
    webui.shared.sd_model = first
    merged, _ = draw("a cat <lora:lin:1>", scripts=[], refine=refined(webui, second))
    webui.shared.sd_model = first
    picture, _ = draw("a cat <lora:lin:1>", ALONE, refine=refined(webui, second))
    assert close(picture, merged)


def test_a_failure_at_the_beginning_of_a_hires_pass_goes_on_merged(
    webui: SimpleNamespace, draw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"hr_prompts": ["a dog <lora:te:1>"]}
    merged, _ = draw("a cat <lora:te:1>", **fields)
    generation = sys.modules["loratorio_ext.hosts.forge.generation"]
    original = generation.layers_of

    passes: list[None] = []

    def fails_in_the_hires_pass(one: Any, model: Any) -> Any:
        passes.append(None)
        if len(passes) == 2:
            raise RuntimeError("no")
        return original(one, model)

    monkeypatch.setattr(generation, "layers_of", fails_in_the_hires_pass)
    picture, p = draw("a cat <lora:te:1>", ALONE, **fields)
    assert any("composing failed at the beginning (no)" in text for text in p.comments)
    assert close(picture, merged)
    assert p.extra_generation_params["LoRAtorio stopped at"] == "the beginning"


def test_the_infotext_remembers_the_first_pass(draw: Any) -> None:
    _, p = draw("a cat <lora:lin:1>", {}, hr_prompts=["a dog"])
    assert p.extra_generation_params == {"LoRAtorio enabled": "True"}
    assert list(p.comments) == ["LoRAtorio: there is no network to compose in the hires pass"]
    _, p = draw("a cat", {}, hr_prompts=["a dog <lora:lin:1>"])
    assert p.extra_generation_params == {"LoRAtorio enabled": "True"}
    assert list(p.comments) == ["LoRAtorio: there is no network to compose in the first pass"]


def test_what_encoding_adds_to_the_infotext_comes_every_time(draw: Any) -> None:
    for _ in range(2):
        _, p = draw("a cat with embedding <lora:te:1>", {})
        assert p.extra_generation_params == {"LoRAtorio enabled": "True", "TI": "embedding"}


def test_another_text_encoder_is_noticed(webui: SimpleNamespace, draw: Any) -> None:
    draw(PROMPT, {"recenter": 0.5})
    encoder = webui.shared.sd_model.encoder
    calls = encoder.calls
    webui.sd_models.model_data.forge_hash = "with another text encoder"
    draw(PROMPT, {"recenter": 0.5})
    assert encoder.calls > calls
