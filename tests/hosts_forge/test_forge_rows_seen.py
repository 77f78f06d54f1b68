"""The rows and predictions that functions of other extensions get to see."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch


def test_a_wrapper_sees_what_was_composed(webui: SimpleNamespace, extensions: SimpleNamespace) -> None:
    """It acts on the model's outcome, and the rows it sees are those that it would see without ours."""
    rows: list[int] = []
    wrapped: list[torch.Tensor] = []
    guided: list[torch.Tensor] = []

    def watching(unet: Any) -> None:
        def around(apply_model: Any, call: Any) -> Any:
            denoised = apply_model(call["input"], call["timestep"], **call["c"])
            rows.append(len(denoised))
            wrapped.append(denoised.chunk(2)[call["cond_or_uncond"].index(0)])
            return denoised

        unet.model_options["model_function_wrapper"] = around
        unet.model_options["sampler_post_cfg_function"] = [
            lambda a: guided.append(a["cond_denoised"]) or a["denoised"]
        ]

    p = webui.processing.StableDiffusionProcessingTxt2Img(
        "a cat <lora:te:1> <lora:lin:1>",
        scripts=[extensions.Other(watching), webui.script.LoRAtorio()],
        script_args=[{"recenter": 0.4}],
    )
    webui.processing.process_images(p)
    assert set(rows) == {2}
    first, *composed = wrapped  # the first time the base is asked, to see what the wrapper does
    assert len(composed) == len(guided)
    assert all(torch.equal(*pair) for pair in zip(composed, guided, strict=True))
    assert not torch.allclose(first, guided[0])


@pytest.mark.parametrize(
    "patch",
    [
        ("patches_replace", {"attn1": {("middle", 0): len}}),
        ("block_modifiers", [len]),
        ("block_inner_modifiers", [len]),
        ("group_norm_wrapper", len),
    ],
)
def test_functions_that_look_across_rows_see_the_usual_ones(
    webui: SimpleNamespace, extensions: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, patch: Any
) -> None:
    rows: list[int] = []
    model = webui.shared.sd_model.k_model
    original = model.apply_model

    def watched(x: Any, t: Any, **c: Any) -> Any:
        rows.append(len(x))
        return original(x, t, **c)

    monkeypatch.setattr(model, "apply_model", watched)

    def patched(unet: Any) -> None:
        unet.model_options.setdefault("transformer_options", {})[patch[0]] = patch[1]

    prompt = ["a cat <lora:te:1> <lora:lin:1>", "a red dog"]
    pictures = []
    for scripts in ([], [extensions.Other(patched)]):
        rows.clear()
        p = webui.processing.StableDiffusionProcessingTxt2Img(
            prompt, scripts=[*scripts, webui.script.LoRAtorio()], script_args=[{"recenter": 0.4}]
        )
        pictures.append(webui.processing.process_images(p))
        assert (max(rows) == 4) is bool(scripts)
    assert torch.allclose(*pictures, rtol=1e-3, atol=2e-4)


def test_whole_images_share_a_call_where_others_bring_something_for_each(
    webui: SimpleNamespace, extensions: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Control-LLLite, which repeats its two hints over a chunk."""
    rows: list[int] = []
    model = webui.shared.sd_model.k_model
    original = model.apply_model

    def watched(x: Any, t: Any, **c: Any) -> Any:
        rows.append(len(x) // len(c["transformer_options"]["cond_or_uncond"]))
        return original(x, t, **c)

    monkeypatch.setattr(model, "apply_model", watched)

    def patched(unet: Any) -> None:
        unet.model_options.setdefault("transformer_options", {})["patches"] = {"attn1_patch": [len]}

    for scripts, whole in (([], False), ([extensions.Other(patched)], True)):
        rows.clear()
        p = webui.processing.StableDiffusionProcessingTxt2Img(
            ["a cat <lora:te:1> <lora:lin:1>", "a red dog"],
            scripts=[*scripts, webui.script.LoRAtorio()],
            script_args=[{"batch_rows": 3}],
        )
        webui.processing.process_images(p)
        assert all(found % 2 == 0 for found in rows) is whole


def test_a_weight_for_every_image_gets_no_more_rows_than_images(
    webui: SimpleNamespace, extensions: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ControlNet's advanced_frame_weighting, also of one that stands before another."""

    class Weighing:
        def __init__(self, **fields: Any) -> None:
            self.__dict__ |= {"previous_controlnet": None, "advanced_frame_weighting": None} | fields

        def get_control(self, x: torch.Tensor, t: torch.Tensor, c: Any, chunks: int) -> torch.Tensor:
            seen.append(len(x) // chunks)
            return torch.zeros(len(x), 1, 1, 1)

    seen: list[int] = []
    first = Weighing(advanced_frame_weighting=[0.0, 1.0])

    def controlled(unet: Any) -> None:
        unet.controlnet_linked_list = Weighing(previous_controlnet=first)

    p = webui.processing.StableDiffusionProcessingTxt2Img(
        ["a cat <lora:te:1> <lora:lin:1>", "a red dog"],
        scripts=[extensions.Other(controlled), webui.script.LoRAtorio()],
        script_args=[{"recenter": 0.4}],
    )
    webui.processing.process_images(p)
    assert set(seen) == {2} and p.comments == {}
