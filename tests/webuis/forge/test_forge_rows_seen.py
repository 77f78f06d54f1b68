"""The rows and predictions that functions of other extensions get to see."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.webuis.forge.changes import TWO, after_guidance, wrapping

BATCH = [TWO, "a red dog"]


def test_a_wrapper_sees_what_was_composed(draw: Any, beside: Any) -> None:
    """It acts on the model's outcome, and the rows it sees are those that it would see without ours."""
    rows: list[int] = []
    wrapped: list[torch.Tensor] = []
    guided: list[torch.Tensor] = []

    @wrapping
    def around(apply_model: Any, call: Any) -> Any:
        denoised = apply_model(call["input"], call["timestep"], **call["c"])
        rows.append(len(denoised))
        wrapped.append(denoised.chunk(2)[call["cond_or_uncond"].index(0)])
        return denoised

    def watching(unet: Any) -> None:
        around(unet)
        after_guidance(lambda a: guided.append(a["cond_denoised"]) or a["denoised"])(unet)

    draw(TWO, {"recenter": 0.4}, scripts=beside(watching))
    assert set(rows) == {2}
    first, *composed = wrapped  # the first time the base is asked, to see what the wrapper does
    assert len(composed) == len(guided)
    assert all(torch.equal(*pair) for pair in zip(composed, guided, strict=True))
    assert not torch.allclose(first, guided[0])


def with_option(name: str, value: Any) -> Any:
    def change(unet: Any) -> None:
        unet.model_options.setdefault("transformer_options", {})[name] = value

    return change


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
    webui: Any, draw: Any, close: Any, beside: Any, patch: Any
) -> None:
    pictures = []
    other, ours = beside(with_option(*patch))
    for scripts in ([ours], [other, ours]):
        webui.called.calls.clear()
        pictures.append(draw(BATCH, {"recenter": 0.4}, scripts=scripts)[0])
        assert (max(webui.called.calls) == 4) is (other in scripts)
    assert close(*pictures)


def test_whole_images_share_a_call_where_others_bring_something_for_each(
    webui: Any, draw: Any, beside: Any
) -> None:
    """As Control-LLLite, which repeats its two hints over a chunk."""
    rows: list[int] = []

    def watched(original: Any, x: Any, t: Any, **c: Any) -> Any:
        rows.append(len(x) // len(c["transformer_options"]["cond_or_uncond"]))
        return original(x, t, **c)

    webui.around_calls(watched)
    other, ours = beside(with_option("patches", {"attn1_patch": [len]}))
    for scripts in ([ours], [other, ours]):
        rows.clear()
        draw(BATCH, {"batch_rows": 3}, scripts=scripts)
        assert all(found % 2 == 0 for found in rows) is (other in scripts)


def test_a_weight_for_every_image_gets_no_more_rows_than_images(draw: Any, beside: Any) -> None:
    """ControlNet's advanced_frame_weighting, also of one that stands before another."""

    class Weighing:
        def __init__(self, **fields: Any) -> None:
            self.__dict__ |= {"previous_controlnet": None, "advanced_frame_weighting": None} | fields

        def get_control(self, x: torch.Tensor, t: torch.Tensor, c: Any, chunks: int, *_: Any) -> torch.Tensor:
            seen.append(len(x) // chunks)
            return torch.zeros(len(x), 1, 1, 1)

    seen: list[int] = []
    first = Weighing(advanced_frame_weighting=[0.0, 1.0])

    def controlled(unet: Any) -> None:
        unet.controlnet_linked_list = Weighing(previous_controlnet=first)

    _, p = draw(BATCH, {"recenter": 0.4}, scripts=beside(controlled))
    assert set(seen) == {2} and p.comments == {}
