"""Other extensions, other options, other files: what a user's WebUI has beside us."""

from __future__ import annotations

import copy
import gc
import importlib
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

ALONE = {"recenter": 0.0}
PROMPT = "a cat <lora:te:1> <lora:lin:1>"


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.allclose(a, b, rtol=1e-3, atol=2e-4))


@pytest.mark.parametrize("timesteps", [False, True])
@pytest.mark.parametrize(
    ("prompt", "together"), [(PROMPT, False), ("a cat with a very long list of words <lora:lin:1>", True)]
)
def test_a_model_in_half_precision(
    webui: SimpleNamespace, draw: Any, prompt: str, together: bool, timesteps: bool
) -> None:
    model = webui.shared.sd_model
    original = model.apply_model
    model.apply_model = lambda *arguments: original(*arguments).to(torch.bfloat16)
    webui.shared.opts.batch_cond_uncond = together
    _, p = draw(prompt, {}, timesteps=timesteps)
    assert p.comments == {}
    assert "LoRAtorio enabled" in p.extra_generation_params


def marked(webui: SimpleNamespace, p: Any, sample: Any) -> Any:
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


def test_marks_in_the_conditions_reach_every_row_and_are_not_kept(webui: SimpleNamespace, draw: Any) -> None:
    wanted, _ = draw(PROMPT, {})
    model = webui.shared.sd_model
    original, seen = model.apply_model, []

    def unmarking(x: torch.Tensor, time: torch.Tensor, cond: Any) -> Any:
        (text,) = cond["c_crossattn"]
        seen.extend(text[:, 0].abs().amin(-1).tolist())
        return original(x, time, {**cond, "c_crossattn": [text[:, 1:]]})

    model.apply_model = unmarking
    p = webui.processing.StableDiffusionProcessingTxt2Img(
        PROMPT, scripts=[webui.script.LoRAtorio()], script_args=[{}]
    )
    p.sample = marked(webui, p, p.sample)
    picture = webui.processing.process_images(p)
    assert set(seen) == {1024.0}
    assert close(picture, wanted) and p.comments == {}
    del model.apply_model
    # ControlNet empties the WebUI's own caches afterwards.
    webui.processing.StableDiffusionProcessing.cached_c = [None, None]
    webui.processing.StableDiffusionProcessing.cached_uc = [None, None]
    assert torch.equal(draw(PROMPT, {})[0], wanted)


def test_a_changed_textual_inversion_is_encoded_anew(webui: SimpleNamespace, draw: Any) -> None:
    embeddings = webui.sd_hijack.model_hijack.embedding_db.word_embeddings
    embedding = importlib.import_module("modules.textual_inversion.textual_inversion").Embedding
    embeddings["cat"] = embedding("cat", "first")
    first, _ = draw(PROMPT, {"recenter": 0.5})
    embeddings["cat"] = embedding("cat", "second")
    draw("another <lora:te:1> <lora:lin:1>", {})
    second, _ = draw(PROMPT, {"recenter": 0.5})
    assert not close(first, second)
    assert close(draw("a cat <lora:te:1>", ALONE)[0], draw("a cat <lora:te:1>", scripts=[])[0])


def test_a_kept_network_is_not_in_the_pool_again(webui: SimpleNamespace, draw: Any) -> None:
    prompt = "a cat <lora:te:0.25:compose=off> <lora:lin:1>"
    wanted, _ = draw(prompt, {})
    picture, p = draw(prompt, {"pool": "te, lin"})
    assert close(picture, wanted) and p.comments == {}
    webui.shared.opts.lora_in_memory_limit = 9
    draw(prompt, {"pool": "lin2"})
    (kept,) = webui.networks.loaded_networks
    assert (kept.mentioned_name, kept.te_multiplier) == ("te", 0.25)


def test_a_network_that_fits_nothing_is_left_out_alone(webui: SimpleNamespace, draw: Any) -> None:
    save_file({"lora_unet_other.lora_down.weight": torch.zeros(2, 3)}, webui.folder / "other.safetensors")
    webui.networks.list_available_networks()
    wanted, _ = draw("a cat <lora:lin:1>", {})
    picture, p = draw("a cat <lora:lin:1> <lora:other:1>", {})
    assert close(picture, wanted)
    assert ["'other'" in text and "take no part" in text for text in p.comments] == [True]
    plain, _ = draw("a cat")
    picture, p = draw("a cat <lora:other:1>", {})
    assert torch.equal(picture, plain)
    assert any("no network fits this model" in text for text in p.comments)
    assert p.extra_generation_params == {}


def test_an_alias_names_the_same_file(webui: SimpleNamespace, draw: Any) -> None:
    tensors = load_file(webui.folder / "lin.safetensors")
    save_file(tensors, webui.folder / "lin.safetensors", metadata={"ss_output_name": "my alias"})
    webui.networks.list_available_networks()
    wanted, _ = draw("a cat <lora:lin:1> <lora:te:1>", {})
    for pool in ("lin, te", "my alias,te"):
        picture, p = draw("a cat <lora:my alias:1>", {"pool": pool})
        assert close(picture, wanted) and p.comments == {}


def test_a_pool_is_read_once(webui: SimpleNamespace, draw: Any) -> None:
    for _ in range(2):
        draw("a cat <lora:lin:1>", {"pool": r"te, SUB\*"}, hr_prompts=["a dog <lora:lin:1>"])
    assert sorted(webui.networks.read_files) == ["lin", "lin2", "te"]


def test_what_is_said_at_the_end_is_under_the_picture(webui: SimpleNamespace, draw: Any) -> None:
    _, p = draw(PROMPT, {"rescan": 3})
    assert p.processed.comments.count("rescan = 3 has no effect") == 1
    assert p.processed.comments.count("\n") == len(p.comments)


def test_a_copy_of_p_begins_anew(webui: SimpleNamespace) -> None:
    """X/Y/Z plot copies p with the same dicts for every cell."""
    script = webui.script.LoRAtorio()
    p = webui.processing.StableDiffusionProcessingTxt2Img(PROMPT, scripts=[script])
    for arguments, keys in (([{"patch_size": 4, "rescan": 3}], 3), ([{"enabled": False}], 0)):
        cell = copy.copy(p)
        cell.script_args = arguments
        webui.processing.process_images(cell)
        assert len(cell.extra_generation_params) == keys
        assert bool(cell.comments) is bool(keys)


def test_after_a_failure_the_next_pass_composes_again(webui: SimpleNamespace, draw: Any) -> None:
    model = webui.shared.sd_model
    original, calls = model.apply_model, []

    def failing_in_the_second_step(x: torch.Tensor, *others: Any) -> Any:
        calls.append(len(x))
        if len(calls) == 4:
            raise RuntimeError("once")
        return original(x, *others)

    wanted, _ = draw([PROMPT, PROMPT], {}, n_iter=2)
    model.apply_model = failing_in_the_second_step
    picture, p = draw([PROMPT, PROMPT], {}, n_iter=2)
    assert not close(picture[0], wanted[0])
    assert close(picture[1], wanted[1])
    (comment,) = p.comments
    assert "call 2 of 4 (once)" in comment
    assert p.extra_generation_params == {"LoRAtorio enabled": "True"}

    calls.clear()
    _, p = draw(PROMPT, {})
    assert p.extra_generation_params == {"LoRAtorio enabled": "True", "LoRAtorio stopped at": "call 2 of 4"}


def test_what_failed_holds_no_memory_while_the_step_is_repeated(webui: SimpleNamespace, draw: Any) -> None:
    model = webui.shared.sd_model
    original = model.apply_model
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    def failing(x: torch.Tensor, *others: Any) -> Any:
        if len(x) > 2:
            large = torch.ones(4)
            held.append(weakref.ref(large))
            raise RuntimeError("no")
        if held and not alive:
            gc.collect()
            alive.append(held[0]() is not None)
        return original(x, *others)

    model.apply_model = failing
    draw(PROMPT, {"recenter": 0.5})
    assert alive == [False]


def test_nothing_of_ours_is_held_while_the_vae_decodes(webui: SimpleNamespace, draw: Any) -> None:
    sampled = webui.script.LoRAtorio.post_sample
    routers: list[weakref.ref[Any]] = []

    class Watching(webui.script.LoRAtorio):  # type: ignore[name-defined, misc]
        def post_sample(self, p: Any, ps: Any, *args: object) -> None:
            routers.append(weakref.ref(p.loratorio.bound))
            sampled(self, p, ps, *args)
            gc.collect()
            routers.append(routers[0])
            assert routers[0]() is None

    p = webui.processing.StableDiffusionProcessingTxt2Img(PROMPT, scripts=[Watching()], script_args=[{}])
    webui.processing.process_images(p)
    assert routers


def test_a_tag_named_twice_acts_twice(draw: Any) -> None:
    merged, _ = draw("a cat <lora:te:0.5> <lora:te:0.5>")
    composed, _ = draw("a cat <lora:te:0.5> <lora:te:0.5>", ALONE)
    assert close(composed, merged)


@pytest.mark.parametrize("argument", ["compose=off", " compose=off", "compose = off", "compose= OFF "])
def test_kept_however_it_is_written(draw: Any, argument: str) -> None:
    kept, p = draw(f"a cat <lora:lin:1:{argument}> <lora:te:1>", ALONE)
    assert close(kept, draw("a cat <lora:lin:1> <lora:te:1>")[0]) and p.comments == {}


def test_a_slip_in_compose_is_said(draw: Any) -> None:
    _, p = draw("a cat <lora:lin:1:compose=of>", {})
    assert list(p.comments) == [
        "LoRAtorio: network 'lin': compose is 'of'; it must be on or off; taken as on"
    ]


def test_another_name_of_the_tag(draw: Any) -> None:
    assert close(draw("a cat <lyco:te:1>", ALONE)[0], draw("a cat <lora:te:1>")[0])


def test_outside_the_window_the_webui_s_own_call_counts(webui: SimpleNamespace, draw: Any) -> None:
    seen = []
    webui.script_callbacks.denoised_callbacks.append(lambda _: seen.append(webui.shared.state.textinfo))
    draw(PROMPT, {"start": 0.5, "recenter": 0.5})
    assert [text.split()[1] for text in seen] == ["4", "4", "6", "6"]
