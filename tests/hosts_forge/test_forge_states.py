"""Off means off, Forge is as before after any end, and nothing merged passes as composed."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch

PROMPT = "a cat <lora:te:1> <lora:lin:1>"
ALONE = {"recenter": 0.0}
OFF = (None, {"enabled": False}, [False, 2, 0.1])


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.allclose(a, b, rtol=1e-3, atol=2e-4))


@pytest.mark.parametrize(
    ("prompt", "settings"),
    [("a cat", {"enabled": True}), *((prompt, off) for prompt in ("a cat", PROMPT) for off in OFF)],
)
def test_off_is_forge_without_it(draw: Any, prompt: str, settings: Any) -> None:
    without, _ = draw(prompt, scripts=[])
    off, p = draw(prompt, settings)
    assert torch.equal(without, off)
    assert p.extra_generation_params == {}
    assert all("no network" in text for text in p.comments)


def break_model(webui: SimpleNamespace, call: int) -> None:
    model = webui.shared.sd_model.k_model
    model.fail_at = len(model.calls) + call


def composed(webui: SimpleNamespace, draw: Any) -> None:
    draw(PROMPT, {"recenter": 0.5})


def unknown(webui: SimpleNamespace, draw: Any) -> None:
    _, p = draw("a cat <lora:nobody:1>", {})
    assert list(p.comments) == [
        "LoRAtorio: the WebUI has not loaded 'nobody', so it takes no part",
        "LoRAtorio: there is no network to compose",
    ]


def broken_file(webui: SimpleNamespace, draw: Any) -> None:
    _, p = draw("a cat <lora:broken:1> <lora:lin:1>", {})
    assert any("has not loaded 'broken'" in text for text in p.comments)


def broken_pool(webui: SimpleNamespace, draw: Any) -> None:
    _, p = draw("a cat <lora:lin:1>", {"pool": "broken"})
    assert any("'broken' of the pool cannot be read" in text for text in p.comments)


def wrong_settings(webui: SimpleNamespace, draw: Any) -> None:
    merged, _ = draw(PROMPT)
    picture, p = draw(PROMPT, {"patch_size": 0})
    (comment,) = p.comments
    assert "patch_size is 0" in comment and "nothing is composed" in comment
    assert torch.equal(picture, merged)


def exception_at_once(webui: SimpleNamespace, draw: Any) -> None:
    break_model(webui, 1)
    with pytest.raises(RuntimeError, match="the model is broken"):
        draw(PROMPT, {"recenter": 0.5})
    webui.shared.sd_model.k_model.fail_at = None


def exception_later(webui: SimpleNamespace, draw: Any) -> None:
    break_model(webui, 3)
    with pytest.raises(RuntimeError, match="the model is broken"):
        draw(PROMPT, {"recenter": 0.5})
    webui.shared.sd_model.k_model.fail_at = None


def other_networks(webui: SimpleNamespace, draw: Any) -> None:
    for name in ("loha", "full", "norm", "dora", "te"):
        draw(f"a cat <lora:{name}:1>", {})


def hires(webui: SimpleNamespace, draw: Any) -> None:
    draw(PROMPT, {}, hr_prompts=["a dog <lora:loha:1>"])


EVENTS = (
    composed,
    unknown,
    broken_file,
    broken_pool,
    wrong_settings,
    exception_at_once,
    exception_later,
    other_networks,
    hires,
)


@pytest.mark.parametrize("event", EVENTS)
def test_afterwards_plain_and_merged_pictures_are_as_before(
    webui: SimpleNamespace, draw: Any, event: Any
) -> None:
    model = webui.shared.sd_model
    plain, _ = draw("a cat")
    merged, _ = draw(PROMPT)

    def hooks() -> dict[str, dict[int, Any]]:
        return {name: dict(module._forward_hooks) for name, module in model.k_model.named_modules()}

    before = hooks()
    event(webui, draw)
    assert hooks() == before
    assert model.forge_objects_original.unet.lora_patches == {}
    assert model.forge_objects_original.unet.model_options == {"transformer_options": {}}
    assert model.forge_objects_after_applying_lora.unet.model_options == {"transformer_options": {}}
    assert torch.equal(draw("a cat")[0], plain)
    assert torch.equal(draw(PROMPT)[0], merged)
    assert torch.equal(draw(PROMPT, scripts=[])[0], merged)


def test_nothing_of_ours_acts_in_the_objects_at_work(webui: SimpleNamespace, draw: Any) -> None:
    draw(PROMPT, {"recenter": 0.5})
    model = webui.shared.sd_model
    assert model.forge_objects.clip is model.forge_objects_after_applying_lora.clip
    left = model.forge_objects.unet.model_options
    assert left == model.forge_objects_after_applying_lora.unet.model_options
    draw("a cat")
    assert model.forge_objects.unet is model.forge_objects_after_applying_lora.unet


def test_a_failure_of_ours_goes_on_merged_and_says_so(webui: SimpleNamespace, draw: Any) -> None:
    merged, _ = draw(PROMPT)
    model = webui.shared.sd_model.k_model
    original = model.apply_model

    def fails_on_many_rows(x: torch.Tensor, t: torch.Tensor, **c: Any) -> Any:
        if len(x) > 2:
            raise RuntimeError("no such shape")
        return original(x, t, **c)

    model.apply_model = fails_on_many_rows
    picture, p = draw(PROMPT, {"recenter": 0.5})
    (comment,) = p.comments
    assert "composing failed at call 1 of 4 (no such shape)" in comment and "merged" in comment
    assert p.extra_generation_params == {}
    assert close(picture, merged)


def test_a_failure_in_the_middle_is_in_the_infotext(webui: SimpleNamespace, draw: Any) -> None:
    model = webui.shared.sd_model.k_model
    original, calls = model.apply_model, []

    def fails_once(x: torch.Tensor, t: torch.Tensor, **c: Any) -> Any:
        calls.append(len(x))
        if len(calls) == 3:
            raise RuntimeError("once")
        return original(x, t, **c)

    wanted, _ = draw([PROMPT, PROMPT], {}, n_iter=2)
    model.apply_model = fails_once
    picture, p = draw([PROMPT, PROMPT], {}, n_iter=2)
    assert not close(picture[0], wanted[0]) and close(picture[1], wanted[1])
    calls.clear()
    _, p = draw(PROMPT, {"recenter": 0.5})
    assert p.extra_generation_params["LoRAtorio stopped at"] == "call 3 of 4"


def test_too_little_memory_makes_smaller_calls(webui: SimpleNamespace, draw: Any) -> None:
    wanted, _ = draw(PROMPT, {"recenter": 0.5})
    model = webui.shared.sd_model.k_model
    original = model.apply_model

    def small(x: torch.Tensor, t: torch.Tensor, **c: Any) -> Any:
        if len(x) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return original(x, t, **c)

    model.apply_model = small
    picture, p = draw(PROMPT, {"recenter": 0.5})
    assert close(picture, wanted)
    assert any("did not fit into memory" in text for text in p.comments)


def test_another_checkpoint(webui: SimpleNamespace, draw: Any) -> None:
    first, _ = draw(PROMPT, {"recenter": 0.5})
    old = webui.shared.sd_model
    webui.shared.sd_model = webui.engine_class("second", 5)
    merged, _ = draw("a cat <lora:te:1>")
    composed, p = draw("a cat <lora:te:1>", ALONE)
    assert close(composed, merged) and p.comments == {}
    webui.shared.sd_model = old
    assert torch.equal(draw(PROMPT, {"recenter": 0.5})[0], first)


def test_prompts_are_encoded_once(webui: SimpleNamespace, draw: Any) -> None:
    encoder = webui.shared.sd_model.encoder
    draw(PROMPT, {"recenter": 0.5})
    calls = encoder.calls
    draw(PROMPT, {"temperature": 1.0})
    assert encoder.calls == calls
    draw("a cat <lora:te:0.5> <lora:lin:1>", {})
    assert encoder.calls > calls


def test_a_network_that_fits_nothing_is_left_out_alone(webui: SimpleNamespace, draw: Any) -> None:
    from safetensors.torch import save_file

    save_file({"lora_other.lora_down.weight": torch.zeros(2, 3)}, webui.folder / "other.safetensors")
    webui.networks.list_available_networks()
    wanted, _ = draw("a cat <lora:lin:1>", {})
    picture, p = draw("a cat <lora:lin:1> <lora:other:1>", {})
    assert close(picture, wanted)
    assert ["'other'" in text and "take no part" in text for text in p.comments] == [True]


def test_a_copy_of_p_begins_anew(webui: SimpleNamespace) -> None:
    script = webui.script.LoRAtorio()
    p = webui.processing.StableDiffusionProcessingTxt2Img(PROMPT, scripts=[script])
    for arguments, keys in (([{"patch_size": 4}], 2), ([{"enabled": False}], 0)):
        cell = copy.copy(p)
        cell.script_args = arguments
        webui.processing.process_images(cell)
        assert len(cell.extra_generation_params) == keys


def test_progress_says_what_a_step_costs(webui: SimpleNamespace, draw: Any) -> None:
    seen = []
    model = webui.shared.sd_model.k_model
    original = model.apply_model

    def watching(*arguments: Any, **c: Any) -> Any:
        seen.append(webui.shared.state.textinfo)
        return original(*arguments, **c)

    model.apply_model = watching
    draw(PROMPT, {"recenter": 0.5})
    assert set(seen) == {"LoRAtorio: 6 predictions at this step instead of 2"}
    assert webui.shared.state.textinfo is None


def test_steps_that_evaluate_no_network_make_no_rows_for_them(webui: SimpleNamespace, draw: Any) -> None:
    wanted, _ = draw(PROMPT, {})
    merged, _ = draw(PROMPT)
    webui.shared.sd_model.k_model.calls.clear()
    picture, p = draw(PROMPT, {"reuse": 2})
    assert sum(webui.shared.sd_model.k_model.calls) == 4 + 2 + 4 + 2
    assert p.comments == {} and not torch.equal(picture, wanted)
    # What is held is not what is new, but nearer to it than the merged networks are.
    assert (picture - wanted).norm() < 0.5 * (merged - wanted).norm()
