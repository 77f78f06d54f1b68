"""Off means off, the WebUI is as before after any end, and nothing merged passes as composed."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest
import torch

from loratorio_ext.networks.router import Router

PROMPT = "a cat <lora:te:1> <lora:lin:1>"
ALONE = {"recenter": 0.0}
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


def composed(webui: Any, draw: Any) -> None:
    draw(PROMPT, {"recenter": 0.5})


def unknown(webui: Any, draw: Any) -> None:
    _, p = draw("a cat <lora:nobody:1>", {})
    assert list(p.comments) == [
        "LoRAtorio: the WebUI has not loaded 'nobody', so it takes no part",
        "LoRAtorio: there is no network to compose",
    ]


def broken_file(webui: Any, draw: Any) -> None:
    _, p = draw("a cat <lora:broken:1> <lora:lin:1>", {})
    said = list(p.comments)
    assert "LoRAtorio: the WebUI has not loaded 'broken', so it takes no part" in said
    assert len(said) == 1 or webui.name != "a1111"  # others load none of a prompt's networks then


def broken_pool(webui: Any, draw: Any) -> None:
    _, p = draw("a cat <lora:lin:1>", {"pool": "broken"})
    assert any("'broken' of the pool cannot be read" in text for text in p.comments)


def wrong_settings(webui: Any, draw: Any) -> None:
    merged, _ = draw(PROMPT)
    picture, p = draw(PROMPT, {"patch_size": 0})
    (comment,) = p.comments
    assert "patch_size is 0" in comment and "nothing is composed" in comment
    assert torch.equal(picture, merged)


def failing_at(call: int) -> Any:
    def exception(webui: Any, draw: Any) -> None:
        webui.called.fail_at = len(webui.called.calls) + call
        with pytest.raises(RuntimeError, match="the model is broken"):
            draw(PROMPT, {"recenter": 0.5})
        webui.called.fail_at = None

    return exception


def other_networks(webui: Any, draw: Any) -> None:
    for name in ("loha", "full", "norm", "dora", "te"):
        draw(f"a cat <lora:{name}:1>", {})


def hires(webui: Any, draw: Any) -> None:
    draw(PROMPT, {}, hr_prompts=["a dog <lora:loha:1>"])


EVENTS = (composed, unknown, broken_file, broken_pool, wrong_settings, other_networks, hires)


@pytest.mark.parametrize("event", [*EVENTS, failing_at(1), failing_at(2), failing_at(3)])
def test_afterwards_plain_and_merged_pictures_are_as_before(webui: Any, draw: Any, event: Any) -> None:
    def hooks() -> list[dict[int, Any]]:
        parts = (webui.unet, webui.encoder)
        return [dict(module._forward_hooks) for part in parts for module in part.modules()]

    plain, _ = draw("a cat")
    merged, _ = draw(PROMPT)
    before = hooks(), webui.standin.options_of_patchers(webui.model)
    event(webui, draw)
    assert (hooks(), webui.standin.options_of_patchers(webui.model)) == before
    assert torch.equal(draw("a cat")[0], plain)
    assert torch.equal(draw(PROMPT)[0], merged)
    assert torch.equal(draw(PROMPT, scripts=[])[0], merged)


def on_many_rows(error: Exception) -> Any:
    def fails(original: Any, x: torch.Tensor, *others: Any, **named: Any) -> Any:
        if len(x) > 2:
            raise error
        return original(x, *others, **named)

    return fails


def test_a_failure_of_ours_goes_on_merged_and_says_so(webui: Any, draw: Any, close: Any) -> None:
    merged, _ = draw(PROMPT)
    webui.around_calls(on_many_rows(RuntimeError("no such shape")))
    picture, p = draw(PROMPT, {"recenter": 0.5})
    (comment,) = p.comments
    assert "composing failed at call 1 of 4 (no such shape)" in comment and "merged" in comment
    assert p.extra_generation_params == {}
    assert close(picture, merged)


def test_too_little_memory_makes_smaller_calls(webui: Any, draw: Any, close: Any) -> None:
    wanted, _ = draw(PROMPT, {"recenter": 0.5})
    webui.around_calls(on_many_rows(torch.cuda.OutOfMemoryError("CUDA out of memory")))
    picture, p = draw(PROMPT, {"recenter": 0.5})
    assert close(picture, wanted)
    assert any("did not fit into memory" in text for text in p.comments)


def test_after_a_failure_the_next_pass_composes_again(draw: Any, close: Any, failing_in_step: Any) -> None:
    wanted, _ = draw([PROMPT, PROMPT], {}, n_iter=2)
    failing_in_step(1)
    picture, p = draw([PROMPT, PROMPT], {}, n_iter=2)
    assert not close(picture[0], wanted[0])
    assert close(picture[1], wanted[1])
    (comment,) = p.comments
    assert "call 2 of 4 (the model is broken)" in comment
    assert p.extra_generation_params == {"LoRAtorio enabled": "True"}
    failing_in_step(1)
    _, p = draw(PROMPT, {})
    assert p.extra_generation_params == {"LoRAtorio enabled": "True", "LoRAtorio stopped at": "call 2 of 4"}


def test_what_failed_holds_no_memory_while_the_step_is_repeated(webui: Any, draw: Any) -> None:
    held: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    def failing(original: Any, x: torch.Tensor, *others: Any, **named: Any) -> Any:
        if len(x) > 2:
            large = torch.ones(4)
            held.append(weakref.ref(large))
            raise RuntimeError("no")
        if held and not alive:
            gc.collect()
            alive.append(held[0]() is not None)
        return original(x, *others, **named)

    webui.around_calls(failing)
    draw(PROMPT, {"recenter": 0.5})
    assert alive == [False]


def test_nothing_of_ours_is_held_while_the_vae_decodes(webui: Any, instances: Any) -> None:
    routers = instances(Router)
    left: list[int] = []

    class Decoder(webui.scripts.Script):  # type: ignore[name-defined, misc]
        def post_sample(self, p: Any, ps: Any, *args: object) -> None:
            gc.collect()
            left.append(sum(one() is not None for one in routers))

    webui.generate(webui.new_p(PROMPT, {}, scripts=[webui.new_script(), Decoder()]))
    assert routers and left == [0]


def test_another_checkpoint(webui: Any, draw: Any, as_merged: Any) -> None:
    first, _ = draw(PROMPT, {"recenter": 0.5})
    old = webui.use(webui.standin.new_model("second", 5))
    as_merged("a cat <lora:te:1>")
    webui.use(old)
    assert torch.equal(draw(PROMPT, {"recenter": 0.5})[0], first)


def test_a_refiner_in_the_middle_is_bound_anew(webui: Any, draw: Any, close: Any) -> None:
    first, second = webui.model, webui.standin.new_model("second", 5)

    def with_refiner(prompt: str, settings: Any = None) -> Any:
        webui.use(first)
        return draw(prompt, settings, refiner=second)

    merged, _ = with_refiner("a cat <lora:te:1>")
    composed, p = with_refiner("a cat <lora:te:1>", ALONE)
    others, _ = with_refiner(PROMPT)
    assert close(composed, merged) and not close(composed, others) and p.comments == {}


def test_prompts_are_encoded_once(webui: Any, draw: Any) -> None:
    draw(PROMPT, {"recenter": 0.5})
    calls = webui.encoder.calls
    draw(PROMPT, {"temperature": 1.0})
    assert webui.encoder.calls == calls
    draw("a cat <lora:te:0.5> <lora:lin:1>", {})
    assert webui.encoder.calls > calls


def test_a_copy_of_p_begins_anew(webui: Any) -> None:
    """X/Y/Z plot copies p with the same dicts for every cell."""
    p = webui.new_p(PROMPT)
    for arguments, keys in (([{"patch_size": 4, "rescan": 3}], 3), ([{"enabled": False}], 0)):
        cell = copy.copy(p)
        cell.script_args = arguments
        webui.generate(cell)
        assert len(cell.extra_generation_params) == keys
        assert bool(cell.comments) is bool(keys)


def test_hooks_that_come_twice_do_no_harm(webui: Any, draw: Any) -> None:
    """ADetailer ends a generation, then begins one on another p with the same arguments, and so on."""
    once, _ = draw(PROMPT, {})
    script = webui.new_script()
    p = webui.new_p(PROMPT, {}, scripts=[script])
    script.process(p, {})
    script.postprocess(p, webui.processing.Processed(p, []), {})
    script.process(p, {})
    assert torch.equal(webui.generate(p), once)
    p.script_args = [{"enabled": False}]
    assert torch.equal(webui.generate(p), draw(PROMPT)[0])


def test_the_api_s_answer_holds_the_comments(draw: Any) -> None:
    def answer(*arguments: Any) -> Any:
        return draw(*arguments)[1].processed.extra_generation_params

    _, p = draw("a cat", {"pool": "nobody"})
    said = p.processed.extra_generation_params["LoRAtorio comments"]
    assert "nobody" in said and "there is no network to compose" in said
    assert p.extra_generation_params == {}
    assert "patch_size is 0" in answer(PROMPT, {"patch_size": 0})["LoRAtorio comments"]
    assert "LoRAtorio comments" not in answer(PROMPT, {"recenter": 0.5})
    assert answer(PROMPT, {"enabled": False}) == {}


def test_what_is_said_at_the_end_is_under_the_picture(draw: Any) -> None:
    _, p = draw(PROMPT, {"rescan": 3})
    assert p.processed.comments.count("rescan = 3 has no effect") == 1
    assert p.processed.comments.count("\n") == len(p.comments)


@pytest.mark.parametrize(
    ("settings", "predictions"),
    [
        ({"recenter": 0.5}, "6666"),
        ({"reuse": 2}, "4242"),
        ({"start": 0.5, "recenter": 0.5}, "4466"),  # outside the window the WebUI's own call counts
    ],
)
def test_progress_says_what_a_step_costs(webui: Any, draw: Any, settings: Any, predictions: str) -> None:
    _, p = draw(PROMPT, settings)
    if "start" in settings and not webui.server.merged_on_top:
        predictions = "2266"
    assert p.progress == [f"LoRAtorio: {one} predictions at this step instead of 2" for one in predictions]
    assert webui.shared.state.textinfo is None


def test_what_networks_added_last_stands_in_for_them(webui: Any, draw: Any) -> None:
    wanted, _ = draw(PROMPT, {})
    merged, _ = draw(PROMPT)
    webui.called.calls.clear()
    picture, p = draw(PROMPT, {"reuse": 2})
    assert sum(webui.called.calls) == 4 + 2 + 4 + 2
    assert p.comments == {} and not torch.equal(picture, wanted)
    # What is held is not what is new, but nearer to it than the merged networks are.
    assert (picture - wanted).norm() < 0.5 * (merged - wanted).norm()
