"""The passes of one picture (first, hires, after a refiner): what is loaded, merged and said in each."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from loratorio_ext.networks.router import Places, TokenLayout
from tests.webuis.forge.changes import ALONE, TWO


@pytest.mark.parametrize("fields", [{}, {"n_iter": 2}])
@pytest.mark.parametrize("settings", [None, {}, {"start": 0.5}])
def test_models_can_always_be_moved_off_the_device(
    webui: Any, draw: Any, settings: Any, fields: dict[str, int]
) -> None:
    """Memory management forgets a loaded patcher that nobody holds, and its weights stay."""
    draw([TWO] * fields.get("n_iter", 1), settings, **fields)
    # Between two batches Forge itself lets go of the patchers that extensions have put in place.
    stuck = webui.backend("memory_management").stuck
    assert [one for one in stuck if "n_iter" not in fields or one != "KModel"] == []


def test_nothing_of_ours_acts_in_the_objects_at_work(webui: Any, draw: Any) -> None:
    draw(TWO, {"recenter": 0.5})
    model = webui.model
    assert model.forge_objects.clip is model.forge_objects_after_applying_lora.clip
    left = model.forge_objects.unet.model_options
    assert left == model.forge_objects_after_applying_lora.unet.model_options
    draw("a cat")
    assert model.forge_objects.unet is model.forge_objects_after_applying_lora.unet


class OtherNames(torch.nn.Module):
    """A UNet whose layers no network names."""

    def __init__(self, unet: torch.nn.Module) -> None:
        super().__init__()
        self.inner = unet

    def forward(self, *arguments: Any, **named: Any) -> Any:
        return self.inner(*arguments, **named)


def test_a_refiner_that_no_network_fits_is_loaded_and_said(
    webui: Any, draw: Any, close: Any, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = webui.model, webui.standin.new_model("second", 5)
    second.k_model.diffusion_model = OtherNames(second.k_model.diffusion_model)
    picture, p = draw("a cat <lora:lin:1>", ALONE, refiner=second)
    loaded = [one.model for one in webui.backend("memory_management").current_loaded_models]
    assert any(one is second.forge_objects.unet for one in loaded)
    assert any("no network fits this model, so none acts from call 3 of 4 on" in text for text in p.comments)
    assert "none acts from call 3 of 4 on" in caplog.text and "Traceback" not in caplog.text
    assert p.extra_generation_params["LoRAtorio stopped at"] == "call 3 of 4"
    assert p.extra_generation_params["LoRAtorio enabled"] == "True"
    webui.use(first)
    merged, _ = draw("a cat <lora:lin:1>", scripts=[], refiner=second)
    assert close(picture, merged)


def test_a_failure_at_the_beginning_of_a_hires_pass_goes_on_merged(
    webui: Any, draw: Any, close: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours: list[bool] = []

    class Around(webui.scripts.Script):  # type: ignore[name-defined, misc]
        def process_before_every_sampling(self, p: Any, *args: object, **kwargs: Any) -> None:
            ours[:] = [] if ours or not p.is_hr_pass else [True]

    required = webui.called.memory_required

    def failing(shape: Any, **others: Any) -> Any:
        if ours:
            raise RuntimeError("no")
        return required(shape, **others)

    fields = {"hr_prompts": ["a dog <lora:te:1>"]}
    merged, _ = draw("a cat <lora:te:1>", **fields)
    monkeypatch.setattr(webui.called, "memory_required", failing)
    around = Around()
    picture, p = draw("a cat <lora:te:1>", ALONE, scripts=[around, webui.new_script(), around], **fields)
    assert any("composing failed at the beginning (no)" in text for text in p.comments)
    assert close(picture, merged)
    assert p.extra_generation_params["LoRAtorio stopped at"] == "the beginning"


def test_the_infotext_remembers_the_first_pass(draw: Any) -> None:
    for first, hires, where in (("<lora:lin:1>", "", "hires"), ("", "<lora:lin:1>", "first")):
        _, p = draw(f"a cat {first}", {}, hr_prompts=[f"a dog {hires}"])
        assert p.extra_generation_params == {"LoRAtorio enabled": "True"}
        assert list(p.comments) == [f"LoRAtorio: there is no network to compose in the {where} pass"]


def test_what_encoding_adds_to_the_infotext_comes_every_time(draw: Any) -> None:
    for _ in range(2):
        _, p = draw("a cat with embedding <lora:te:1>", {})
        assert p.extra_generation_params == {"LoRAtorio enabled": "True", "TI": "embedding"}


def test_another_text_encoder_is_noticed(webui: Any, draw: Any) -> None:
    draw(TWO, {"recenter": 0.5})
    calls = webui.encoder.calls
    webui.sd_models.model_data.forge_hash = "with another text encoder"
    draw(TWO, {"recenter": 0.5})
    assert webui.encoder.calls > calls


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ({}, (2, 1)),
        ({"patch_size": 1}, (1, 1)),  # Flux.2
        ({"patch_size": 2, "pad_tokens_multiple": 32}, (2, 32)),  # Z-Image
        ({"patch_size": 2, "pad_tokens_multiple": None}, (2, 1)),  # Lumina
        ({"patch_size": (1, 2, 2)}, (2, 1)),  # Wan
    ],
)
def test_maps_are_laid_over_the_tokens_of_the_model_at_hand(
    webui: Any, draw: Any, monkeypatch: pytest.MonkeyPatch, kind: dict[str, Any], wanted: tuple[int, int]
) -> None:
    layouts: list[TokenLayout] = []

    def watched(rows: Any, maps: Any, layout: TokenLayout) -> Places:
        layouts.append(layout)
        return Places(rows, maps, layout)

    monkeypatch.setattr("loratorio_ext.run.routes.Places", watched)
    for name, value in kind.items():
        monkeypatch.setattr(webui.unet, name, value, raising=False)
    _, p = draw("a cat <lora:lin:1> <lora:te:1>", {"looks": 1})
    assert p.comments == {} and layouts and set(layouts) == {TokenLayout(*wanted)}
