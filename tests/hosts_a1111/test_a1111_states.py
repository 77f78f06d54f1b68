"""Off means off, the next plain picture is as before, and nothing merged passes as composed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

PROMPT = "a cat <lora:te:1> <lora:lin:1>"


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.allclose(a, b, rtol=1e-3, atol=2e-4))


OFF = (None, {"enabled": False}, [False, 2, 0.1])


@pytest.mark.parametrize(
    ("prompt", "settings"),
    [("a cat", {"enabled": True}), *((prompt, off) for prompt in ("a cat", PROMPT) for off in OFF)],
)
def test_off_is_the_webui_without_it(draw: Any, prompt: str, settings: Any) -> None:
    without, _ = draw(prompt, scripts=[])
    off, p = draw(prompt, settings)
    assert torch.equal(without, off)
    assert p.extra_generation_params == {}
    assert all("no network" in text for text in p.comments)


def break_model(webui: SimpleNamespace, call: int) -> None:
    model = webui.shared.sd_model
    model.fail_at = model.calls + call


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
    assert list(p.comments) == ["LoRAtorio: the WebUI has not loaded 'broken', so it takes no part"]


def wrong_settings(webui: SimpleNamespace, draw: Any) -> None:
    merged, _ = draw(PROMPT)
    picture, p = draw(PROMPT, {"patch_size": 0})
    (comment,) = p.comments
    assert "patch_size is 0" in comment and "nothing is composed" in comment
    assert torch.equal(picture, merged)


def exception_in_ours(webui: SimpleNamespace, draw: Any) -> None:
    break_model(webui, 2)  # 1 is the WebUI's call, 2 the networks'
    with pytest.raises(RuntimeError, match="the model is broken"):
        draw(PROMPT, {"recenter": 0.5})
    webui.shared.sd_model.fail_at = None


def exception_in_theirs(webui: SimpleNamespace, draw: Any) -> None:
    break_model(webui, 3)
    with pytest.raises(RuntimeError, match="the model is broken"):
        draw(PROMPT, {"recenter": 0.5})
    webui.shared.sd_model.fail_at = None


def other_networks(webui: SimpleNamespace, draw: Any) -> None:
    for name in ("loha", "full", "norm", "dora", "te"):
        draw(f"a cat <lora:{name}:1>", {})


def hires(webui: SimpleNamespace, draw: Any) -> None:
    draw(PROMPT, {}, hr_prompts=["a dog <lora:loha:1>"])


@pytest.mark.parametrize(
    "event",
    [
        composed,
        unknown,
        broken_file,
        wrong_settings,
        exception_in_ours,
        exception_in_theirs,
        other_networks,
        hires,
    ],
)
def test_afterwards_plain_and_merged_pictures_are_as_before(
    webui: SimpleNamespace, draw: Any, event: Any
) -> None:
    plain, _ = draw("a cat")
    merged, _ = draw(PROMPT)
    hooks = {name: dict(m._forward_hooks) for name, m in webui.shared.sd_model.named_modules()}
    event(webui, draw)
    assert {name: dict(m._forward_hooks) for name, m in webui.shared.sd_model.named_modules()} == hooks
    assert torch.equal(draw("a cat")[0], plain)
    assert torch.equal(draw(PROMPT)[0], merged)
    assert torch.equal(draw(PROMPT, scripts=[])[0], merged)


def test_a_failure_of_ours_goes_on_merged_and_says_so(webui: SimpleNamespace, draw: Any) -> None:
    merged, _ = draw(PROMPT)
    model = webui.shared.sd_model
    original = model.apply_model

    def fails_on_many_rows(x: torch.Tensor, time: torch.Tensor, cond: Any) -> torch.Tensor:
        if len(x) > 2:
            raise RuntimeError("no such shape")
        result: torch.Tensor = original(x, time, cond)
        return result

    model.apply_model = fails_on_many_rows
    picture, p = draw(PROMPT, {"recenter": 0.5})
    (comment,) = p.comments
    assert "composing failed at call 1 of 4 (no such shape)" in comment and "merged" in comment
    assert p.extra_generation_params == {}
    assert close(picture, merged)


def test_too_little_memory_makes_smaller_calls(webui: SimpleNamespace, draw: Any) -> None:
    wanted, _ = draw(PROMPT, {"recenter": 0.5})
    model = webui.shared.sd_model
    original = model.apply_model

    def small(x: torch.Tensor, time: torch.Tensor, cond: Any) -> torch.Tensor:
        if len(x) > 2:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        result: torch.Tensor = original(x, time, cond)
        return result

    model.apply_model = small
    picture, p = draw(PROMPT, {"recenter": 0.5})
    assert close(picture, wanted)
    assert any("did not fit into memory" in text for text in p.comments)


def test_what_cannot_be_composed_says_so(webui: SimpleNamespace, draw: Any) -> None:
    merged, _ = draw(PROMPT)
    webui.sd_unet.current_unet = object()
    picture, p = draw(PROMPT, {"recenter": 0.5})
    assert torch.equal(picture, merged) and "UNet is replaced" in next(iter(p.comments))
    webui.sd_unet.current_unet = None
    webui.shared.sd_model.cond_stage_key = "edit"
    picture, p = draw(PROMPT, {}, image_cfg_scale=1.5)
    assert torch.equal(picture, merged) and "InstructPix2Pix" in next(iter(p.comments))


def test_another_checkpoint(webui: SimpleNamespace, draw: Any) -> None:
    first, _ = draw(PROMPT, {"recenter": 0.5})
    old = webui.shared.sd_model
    webui.shared.sd_model = webui.model_class("second", 5, webui.networks.network_apply_weights)
    merged, _ = draw("a cat <lora:te:1>")
    composed, p = draw("a cat <lora:te:1>", {"recenter": 0.0})
    assert close(composed, merged) and p.comments == {}
    webui.shared.sd_model = old
    assert torch.equal(draw(PROMPT, {"recenter": 0.5})[0], first)


def test_a_refiner_in_the_middle_is_bound_anew(webui: SimpleNamespace, draw: Any) -> None:
    first = webui.shared.sd_model
    second = webui.model_class("second", 5, webui.networks.network_apply_weights)

    def with_refiner(settings: Any) -> tuple[torch.Tensor, Any]:
        webui.shared.sd_model = first

        def switch(params: Any) -> None:
            denoiser = params.denoiser
            if denoiser.step == 2 and webui.shared.sd_model is first:
                webui.shared.sd_model = second
                denoiser.p.setup_conds()
                c, uc = denoiser.p.get_conds()
                denoiser.sampler.sampler_extra_args.update(cond=c, uncond=uc)
                params.text_cond = webui.prompt_parser.reconstruct_multicond_batch(c, 2)[1]
                params.text_uncond = webui.prompt_parser.reconstruct_cond_batch(uc, 2)

        webui.script_callbacks.denoiser_callbacks.insert(0, switch)
        result: tuple[torch.Tensor, Any] = draw("a cat <lora:te:1>", settings)
        webui.script_callbacks.denoiser_callbacks.remove(switch)
        return result

    merged, _ = with_refiner(None)
    composed, p = with_refiner({"recenter": 0.0})
    assert close(composed, merged) and p.comments == {}


def test_prompts_are_encoded_once(webui: SimpleNamespace, draw: Any) -> None:
    encoder = webui.shared.sd_model.cond_stage_model
    draw(PROMPT, {"recenter": 0.5})
    calls = encoder.calls
    draw(PROMPT, {"temperature": 1.0})
    assert encoder.calls == calls
    draw("a cat <lora:te:0.5> <lora:lin:1>", {})
    assert encoder.calls > calls


def test_files_are_read_once_and_again_when_they_change(webui: SimpleNamespace, draw: Any) -> None:
    import os

    draw(PROMPT, {"recenter": 0.5})
    read = list(webui.networks.read_files)
    draw(PROMPT, {"recenter": 0.5})
    draw("a cat <lora:te:1>")
    assert webui.networks.read_files == read
    first, _ = draw("a cat <lora:lin:1>", {})
    path = webui.folder / "lin.safetensors"
    path.write_bytes((webui.folder / "sub" / "lin2.safetensors").read_bytes())
    os.utime(path, (2e9, 2e9))
    assert not close(draw("a cat <lora:lin:1>", {})[0], first)


def test_textual_inversions_of_a_network_come_and_go(webui: SimpleNamespace, draw: Any) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(webui.folder / "lin.safetensors")
    save_file({**tensors, "bundle_emb.word": torch.zeros(2)}, webui.folder / "bundle.safetensors")
    webui.networks.list_available_networks()
    alone, _ = draw("a cat <lora:lin:1>", {"recenter": 0.0})
    bundled, _ = draw("a cat <lora:bundle:1>", {"recenter": 0.0})
    assert close(alone, bundled)
    assert webui.networks.embeddings == {"word"}
    draw("a cat")
    assert webui.networks.embeddings == set()
    again, _ = draw("a cat <lora:bundle:1>")
    assert close(again, alone)


def test_hooks_that_come_twice_do_no_harm(webui: SimpleNamespace, draw: Any) -> None:
    """ADetailer ends a generation, then begins one on another p with the same arguments, and so on."""
    once, _ = draw(PROMPT, {})
    one_script = webui.script.LoRAtorio()
    p = webui.processing.StableDiffusionProcessingTxt2Img(PROMPT, scripts=[one_script], script_args=[{}])
    one_script.process(p, {})
    one_script.postprocess(p, webui.processing.Processed(p, []), {})
    one_script.process(p, {})
    assert torch.equal(webui.processing.process_images(p), once)
    p.script_args = [{"enabled": False}]
    assert torch.equal(webui.processing.process_images(p), draw(PROMPT)[0])


def test_the_api_s_answer_holds_the_comments(webui: SimpleNamespace, draw: Any) -> None:
    _, p = draw("a cat", {"pool": "nobody"})
    answer = p.processed.extra_generation_params["LoRAtorio comments"]
    assert "nobody" in answer and "there is no network to compose" in answer
    assert p.extra_generation_params == {}
    _, p = draw(PROMPT, {"patch_size": 0})
    assert "patch_size is 0" in p.processed.extra_generation_params["LoRAtorio comments"]
    _, p = draw(PROMPT, {"recenter": 0.5})
    assert "LoRAtorio comments" not in p.processed.extra_generation_params
    assert draw(PROMPT, {"enabled": False})[1].processed.extra_generation_params == {}


def test_progress_of_steps_that_evaluate_no_network(webui: SimpleNamespace, draw: Any) -> None:
    seen = []
    webui.script_callbacks.denoised_callbacks.append(lambda _: seen.append(webui.shared.state.textinfo))
    draw(PROMPT, {"reuse": 2})
    assert [text.split()[1] for text in seen] == ["4", "2", "4", "2"]


def test_progress_says_what_a_step_costs(webui: SimpleNamespace, draw: Any) -> None:
    seen = []
    webui.script_callbacks.denoised_callbacks.append(lambda _: seen.append(webui.shared.state.textinfo))
    draw(PROMPT, {"recenter": 0.5})
    assert set(seen) == {"LoRAtorio: 6 predictions at this step instead of 2"}
    assert webui.shared.state.textinfo is None


def test_what_networks_added_last_stands_in_for_them(webui: SimpleNamespace, draw: Any) -> None:
    wanted, _ = draw(PROMPT, {})
    merged, _ = draw(PROMPT)
    picture, p = draw(PROMPT, {"reuse": 2})
    assert p.comments == {} and not torch.equal(picture, wanted)
    assert (picture - wanted).norm() < 0.5 * (merged - wanted).norm()
