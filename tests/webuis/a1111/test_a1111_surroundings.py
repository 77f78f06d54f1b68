"""What a user's WebUI has beside us: other extensions, other files, what cannot be composed."""

from __future__ import annotations

import importlib
import os
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

ALONE = {"recenter": 0.0}
THREE = "a cat <lora:lin:1> <lora:te:1> <lora:locon:1>"
PROMPT = "a cat <lora:te:1> <lora:lin:1>"


def test_what_cannot_be_composed_says_so(webui: Any, draw: Any) -> None:
    merged, _ = draw(PROMPT)
    webui.sd_unet.current_unet = object()
    assert "replaced by object" in webui.server.obstacle()
    picture, p = draw(PROMPT, {"recenter": 0.5})
    assert torch.equal(picture, merged) and "UNet is replaced" in next(iter(p.comments))
    webui.sd_unet.current_unet = None
    webui.model.cond_stage_key = "edit"
    picture, p = draw(PROMPT, {}, image_cfg_scale=1.5)
    assert torch.equal(picture, merged) and "InstructPix2Pix" in next(iter(p.comments))


def test_a_model_that_not_everything_can_be_composed_with_is_foretold(
    webui: Any, draw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webui.model, "cond_stage_key", "edit")
    assert webui.server.obstacle() is None
    foretold = webui.server.remark()
    assert "image CFG scale other than 1" in foretold
    _, p = draw(PROMPT, {}, image_cfg_scale=1.5)
    assert any(foretold in comment for comment in p.comments)
    for scale in (None, 1.0):  # all else is composed
        _, p = draw(PROMPT, {}, image_cfg_scale=scale)
        assert p.comments == {}
    assert len(webui.server.history.records()) == 2


@pytest.mark.parametrize("timesteps", [False, True])
@pytest.mark.parametrize(
    ("prompt", "together"), [(PROMPT, False), ("a cat with a very long list of words <lora:lin:1>", True)]
)
def test_a_model_in_half_precision(
    webui: Any, draw: Any, prompt: str, together: bool, timesteps: bool
) -> None:
    webui.around_calls(lambda original, *arguments, **named: original(*arguments, **named).to(torch.bfloat16))
    webui.opts.batch_cond_uncond = together
    _, p = draw(prompt, {}, timesteps=timesteps)
    assert p.comments == {}
    assert "LoRAtorio enabled" in p.extra_generation_params


def test_files_are_read_once_and_again_when_they_change(webui: Any, draw: Any, close: Any) -> None:
    draw(PROMPT, {"recenter": 0.5})
    read = list(webui.standin.read_files())
    draw(PROMPT, {"recenter": 0.5})
    draw("a cat <lora:te:1>")
    assert webui.standin.read_files() == read
    first, _ = draw("a cat <lora:lin:1>", {})
    path = webui.folder / "lin.safetensors"
    path.write_bytes((webui.folder / "sub" / "lin2.safetensors").read_bytes())
    os.utime(path, (2e9, 2e9))
    assert not close(draw("a cat <lora:lin:1>", {})[0], first)


def test_textual_inversions_of_a_network_come_and_go(webui: Any, draw: Any, close: Any) -> None:
    tensors = load_file(webui.folder / "lin.safetensors")
    save_file({**tensors, "bundle_emb.word": torch.zeros(2)}, webui.folder / "bundle.safetensors")
    webui.networks.list_available_networks()
    alone, _ = draw("a cat <lora:lin:1>", ALONE)
    bundled, _ = draw("a cat <lora:bundle:1>", ALONE)
    assert close(alone, bundled)
    assert webui.networks.embeddings == {"word"}
    draw("a cat")
    assert webui.networks.embeddings == set()
    again, _ = draw("a cat <lora:bundle:1>")
    assert close(again, alone)


def test_a_changed_textual_inversion_is_encoded_anew(webui: Any, draw: Any, close: Any) -> None:
    embeddings = webui.sd_hijack.model_hijack.embedding_db.word_embeddings
    embedding = importlib.import_module("modules.textual_inversion.textual_inversion").Embedding
    embeddings["cat"] = embedding("cat", "first")
    first, _ = draw(PROMPT, {"recenter": 0.5})
    embeddings["cat"] = embedding("cat", "second")
    draw("another <lora:te:1> <lora:lin:1>", {})
    second, _ = draw(PROMPT, {"recenter": 0.5})
    assert not close(first, second)
    assert close(draw("a cat <lora:te:1>", ALONE)[0], draw("a cat <lora:te:1>", scripts=[])[0])


def test_a_kept_network_keeps_its_strength_beside_a_pool(webui: Any, draw: Any) -> None:
    webui.opts.lora_in_memory_limit = 9
    draw("a cat <lora:te:0.25:compose=off> <lora:lin:1>", {"pool": "lin2"})
    (kept,) = webui.networks.loaded_networks
    assert (kept.mentioned_name, kept.te_multiplier) == ("te", 0.25)


def marked(p: Any, sample: Any) -> Any:
    """As ControlNet does it: a token in front of all conditions, written into the objects that p has."""

    def put(schedules: Any, mark: float) -> None:
        for place, one in enumerate(schedules):
            token = torch.full_like(one.cond[:1], mark)
            schedules[place] = one._replace(cond=torch.cat((token, one.cond)))

    def marking(x: torch.Tensor) -> Any:
        for parts in p.c.batch:
            for part in parts:
                put(part.schedules, 1024.0)
        for schedules in p.uc:
            put(schedules, -1024.0)
        return sample(x)

    return marking


def test_marks_in_the_conditions_reach_every_row_and_are_not_kept(webui: Any, draw: Any, close: Any) -> None:
    wanted, _ = draw(PROMPT, {})
    seen: list[float] = []

    def unmarking(original: Any, x: torch.Tensor, time: torch.Tensor, cond: Any) -> Any:
        (text,) = cond["c_crossattn"]
        seen.extend(text[:, 0].abs().amin(-1).tolist())
        return original(x, time, {**cond, "c_crossattn": [text[:, 1:]]})

    end = webui.around_calls(unmarking)
    p = webui.new_p(PROMPT, {})
    p.sample = marked(p, p.sample)
    picture = webui.generate(p)
    assert set(seen) == {1024.0}
    assert close(picture, wanted) and p.comments == {}
    end()
    # ControlNet empties the WebUI's own caches afterwards.
    webui.processing.StableDiffusionProcessing.cached_c = [None, None]
    webui.processing.StableDiffusionProcessing.cached_uc = [None, None]
    assert torch.equal(draw(PROMPT, {})[0], wanted)


@pytest.mark.parametrize("cut", [False, True])
def test_a_call_of_another_extension_ends_placing_and_spoils_nothing(
    webui: Any, draw: Any, close: Any, cut: bool
) -> None:
    every, _ = draw(THREE, {"gain": 0.5})

    def call(params: Any) -> None:
        if params.denoiser.step == 2:
            x = params.x[:1, ..., :4] if cut else params.x[:1]
            text, image = params.text_cond[:1], params.image_cond[:1]
            condition = {"c_crossattn": [text], "c_concat": [image]}
            params.denoiser.inner_model(x, params.sigma[:1], cond=condition)

    webui.script_callbacks.denoiser_callbacks.append(call)
    looked, p = draw(THREE, {"gain": 0.5, "looks": 1})
    (comment,) = p.comments
    assert "cannot be placed" in comment and "from evaluation 2 on" in comment
    modes = [step.mode for step in p.loratorio.passes[0].report.steps]
    assert modes == ["composed", "placed", "composed", "composed"]
    assert not close(looked, every)
    webui.script_callbacks.denoiser_callbacks.remove(call)


def test_a_call_after_a_step_is_answered_by_the_base_and_said(webui: Any, draw: Any) -> None:
    """As Self Attention Guidance, in a callback that comes after ours."""
    settings = {"looks": 1, "recenter": 0.5}
    wanted, p = draw(THREE, settings)
    assert p.comments == {}
    given, answers = [], []

    def before(params: Any) -> None:
        given[:] = [params]

    def after(params: Any) -> None:
        call = given[0]
        condition = {"c_crossattn": [call.text_cond[:1]], "c_concat": [call.image_cond[:1]]}
        answers.append(call.denoiser.inner_model(call.x[:1], call.sigma[:1], cond=condition))

    webui.script_callbacks.denoiser_callbacks.append(before)
    webui.script_callbacks.denoised_callbacks.append(after)
    picture, p = draw(THREE, settings)
    (comment,) = p.comments
    assert "calls the model again" in comment and "base model alone" in comment
    assert torch.equal(picture, wanted)
    webui.script_callbacks.denoiser_callbacks.remove(before)
    webui.script_callbacks.denoised_callbacks.remove(after)
    _, p = draw(THREE, settings)
    assert p.comments == {}


def test_blocks_that_remember_rows_are_recognised_before_the_first_prediction(webui: Any, draw: Any) -> None:
    """As ControlNet's reference."""
    merged, _ = draw(PROMPT)
    composed, _ = draw(PROMPT, {})
    block = next(iter(webui.model.model.diffusion_model.children()))
    block._forward = lambda *args: None
    picture, p = draw(PROMPT, {})
    assert "remembers the rows" in next(iter(p.comments)) and "call 1 of" in next(iter(p.comments))
    assert torch.equal(picture, merged)
    del block._forward
    assert torch.equal(draw(PROMPT, {})[0], composed)


def test_an_extension_finds_the_networks_that_it_has_renamed(webui: Any, draw: Any, close: Any) -> None:
    """As LoRA Block Weight with start=: notes stay for the next generation where it does not find them."""
    merged, _ = draw("a cat <lora:te:1>")
    waiting: set[str] = set()

    class Renames(webui.scripts.Script):  # type: ignore[misc,name-defined]
        def after_extra_networks_activate(self, p: Any, *args: Any, **kwargs: Any) -> None:
            for network in webui.networks.loaded_networks:
                waiting.add(network.name)
                network.name += "_renamed"

    def at_a_call(params: Any) -> None:
        for network in webui.networks.loaded_networks:
            waiting.discard(network.name.split("_renamed")[0])

    webui.script_callbacks.denoiser_callbacks.append(at_a_call)
    for settings in ({**ALONE, "looks": 0}, {**ALONE, "looks": 1}):
        p = webui.new_p("a cat <lora:te:1>", settings)
        p.scripts.insert(0, Renames())
        assert close(webui.generate(p), merged)
        assert p.comments == {} and waiting == set()
    webui.script_callbacks.denoiser_callbacks.remove(at_a_call)
    assert torch.equal(draw("a cat <lora:te:1>")[0], merged)


@pytest.mark.parametrize("steps", ["start=2", "stop=2", "step=1-3"])
def test_texts_that_keep_to_the_steps_of_block_weights_are_told(draw: Any, steps: str) -> None:
    """LoRA Block Weight changes strengths while sampling; by then the WebUI has encoded the texts."""
    _, p = draw(f"a cat <lora:te:1:{steps}> <lora:lin:1:{steps}>", {})
    (comment,) = p.comments
    assert "text part of 'te' keeps to start=" in comment
    for tags in (f"<lora:te:0:1:{steps}> <lora:lin:1>", "<lora:te:1:steps=0-0.5>", f"<lora:lin:1:{steps}>"):
        assert draw(f"a cat {tags}", {})[1].comments == {}


def in_tiles(order: str) -> Any:
    """As Tiled Diffusion: the left and the right half, in one call by tiles or by rows, or in two calls."""

    def tiled(original: Any, x: torch.Tensor, time: torch.Tensor, cond: Any) -> Any:
        def call(x: torch.Tensor, rows: list[int]) -> torch.Tensor:
            parts = {name: [part[rows] for part in several] for name, several in cond.items()}
            return original(x, time[rows], parts)

        rows, halves = list(range(len(x))), x.chunk(2, dim=3)
        if order == "one":
            return torch.cat([call(half, rows) for half in halves], dim=3)
        if order == "tiles":
            return torch.cat(call(torch.cat(halves), rows * 2).chunk(2), dim=3)
        both = call(torch.stack(halves, 1).flatten(0, 1), [row for row in rows for _ in range(2)])
        return torch.cat(both.unflatten(0, (-1, 2)).unbind(1), dim=3)

    return tiled


@pytest.mark.parametrize("settings", [{"recenter": 0.5}, {"looks": 1}])
@pytest.mark.parametrize("order", ["tiles", "rows"])
def test_every_row_keeps_its_networks_in_tiles(
    webui: Any, draw: Any, close: Any, order: str, settings: Any
) -> None:
    plain, _ = draw("a cat")
    end = webui.around_calls(in_tiles("one"))
    wanted, p = draw(THREE, {**settings, "looks": 0})
    assert p.comments == {}
    merged, _ = draw("a cat <lora:te:1>")
    end()
    end = webui.around_calls(in_tiles(order))
    picture, p = draw(THREE, settings)
    assert any("several tiles" in comment and "one after another" in comment for comment in p.comments)
    if settings.get("looks"):
        assert any("cannot be placed" in comment for comment in p.comments)
    assert close(picture, wanted)
    assert close(draw("a cat <lora:te:1>", {**ALONE, **settings, "recenter": 0.0})[0], merged)
    end()
    assert torch.equal(draw("a cat")[0], plain)


def test_networks_are_not_placed_in_tiles_one_by_one(webui: Any, draw: Any, close: Any) -> None:
    """A tile may be as large as the picture is at a deeper layer."""
    end = webui.around_calls(in_tiles("one"))
    every, _ = draw(THREE, {})
    looked, p = draw(THREE, {"looks": 1})
    (comment,) = p.comments
    assert "cannot be placed" in comment and "into tiles" in comment
    assert close(looked, every)
    end()
