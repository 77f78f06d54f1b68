"""Other extensions that stand around the model's calls, or call it once more."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

PROMPT = "a cat <lora:te:1>"
TWO = "a cat <lora:te:1> <lora:lin:1>"
BATCH = ["a cat <lora:te:1>", "a red dog"]


def wrapper(unet: Any) -> None:
    def halved(apply_model: Any, call: Any) -> Any:
        return 0.5 * apply_model(call["input"], call["timestep"], **call["c"])

    unet.model_options["model_function_wrapper"] = halved


def tiles(unet: Any) -> None:
    """As tiled diffusion: the latent's halves as rows of one call."""

    def in_two(apply_model: Any, call: Any) -> Any:
        left, right = call["input"].chunk(2, dim=3)
        c = {**call["c"], "c_crossattn": call["c"]["c_crossattn"].repeat(2, 1, 1)}
        options = c["transformer_options"]
        c["transformer_options"] = {**options, "cond_or_uncond": options["cond_or_uncond"] * 2}
        both = apply_model(torch.cat((left, right)), call["timestep"].repeat(2), **c)
        return torch.cat(both.chunk(2), dim=3)

    unet.model_options["model_function_wrapper"] = in_two


def evaluate(*evaluation: Any) -> Any:
    return sys.modules["backend.sampling.sampling_function"].calc_cond_uncond_batch(*evaluation)


def add_after_guidance(unet: Any, function: Any) -> None:
    unet.model_options.setdefault("sampler_post_cfg_function", []).append(function)


def perturbed(unet: Any) -> None:
    """As PAG: the conditions once more, in a model that is not quite the same."""

    def worse(apply_model: Any, call: Any) -> Any:
        c = {**call["c"], "c_crossattn": call["c"]["c_crossattn"] * 0.9}
        return apply_model(call["input"], call["timestep"] * 0.9, **c)

    def function(a: Any) -> Any:
        ours = a["model_options"].get("model_function_wrapper")
        chained = (lambda apply_model, call: ours(partial_of(worse, apply_model), call)) if ours else worse
        options = {**a["model_options"], "model_function_wrapper": chained}
        degraded, _ = evaluate(a["model"], a["cond"], None, a["input"], a["sigma"], options)
        return a["denoised"] + 2.0 * (a["cond_denoised"] - degraded)

    add_after_guidance(unet, function)


def partial_of(wrapper: Any, apply_model: Any) -> Any:
    def asked(x: Any, t: Any, **c: Any) -> Any:
        halves = c["transformer_options"]["cond_or_uncond"]
        return wrapper(apply_model, {"input": x, "timestep": t, "c": c, "cond_or_uncond": halves})

    return asked


def blurred(unet: Any) -> None:
    """As SAG: the unconditional once more, of another latent."""

    def function(a: Any) -> Any:
        if a["uncond"] is None:
            return a["denoised"]
        noised = a["input"].flip(3) * 0.5
        again, _ = evaluate(a["model"], a["uncond"], None, noised, a["sigma"], a["model_options"])
        return a["denoised"] + 0.5 * (a["uncond_denoised"] - again)

    add_after_guidance(unet, function)


def a_part_again(unet: Any) -> None:
    """An evaluation after the guidance whose latent is smaller."""

    def function(a: Any) -> Any:
        left = a["input"][..., :4]
        again, _ = evaluate(a["model"], a["cond"], None, left, a["sigma"], a["model_options"])
        return torch.cat((a["denoised"][..., :4] + again, a["denoised"][..., 4:]), dim=3)

    add_after_guidance(unet, function)


def reference(unet: Any) -> None:
    """As ControlNet's reference: another picture is evaluated before the denoiser's own."""
    inner = sys.modules["backend.sampling.sampling_function"].sampling_function_inner

    def modifier(
        model: Any, x: Any, t: Any, uncond: Any, cond: Any, scale: Any, options: Any, seed: Any
    ) -> Any:
        seen = inner(model, x.flip(2), t, uncond, cond, 1, options, seed)[0]
        return model, x + 0.1 * seen, t, uncond, cond, scale, options, seed

    unet.model_options.setdefault("conditioning_modifiers", []).append(modifier)


def reference_inside(unet: Any) -> None:
    """The same from a function before the guidance."""
    inner = sys.modules["backend.sampling.sampling_function"].sampling_function_inner
    working: list[bool] = []

    def function(*evaluation: Any) -> Any:
        model, cond, uncond, x, t, options = evaluation
        if not working:
            working.append(True)
            seen = inner(model, x.flip(2), t, uncond, cond, 1, options, 0)[0]
            working.clear()
            x = x + 0.1 * seen
        return model, cond, uncond, x, t, options

    unet.model_options.setdefault("sampler_pre_cfg_function", []).append(function)


def late_wrapper(unet: Any) -> None:
    """Hands calls on as they are at first, and later another latent."""

    def shifting(apply_model: Any, call: Any) -> Any:
        x = call["input"] if call["timestep"][0] > 3 else call["input"] * 0.9
        return apply_model(x, call["timestep"], **call["c"]) + 0.2

    unet.model_options["model_function_wrapper"] = shifting


SEVERAL = ["a cat AND a dog :0.4 <lora:te:1> <lora:lin:1>", "a red dog AND a cat"]
CHANGES = (wrapper, tiles, late_wrapper, perturbed, blurred, a_part_again, reference, reference_inside)


@pytest.mark.parametrize("prompt", [PROMPT, BATCH])
@pytest.mark.parametrize("change", CHANGES)
def test_other_extensions_act_as_without_ours(
    draw: Any, close: Any, both_orders: Any, change: Any, prompt: Any
) -> None:
    before, after, merged = both_orders(change, prompt)
    assert close(before, merged) and close(after, merged)
    assert not close(draw(prompt)[0], merged) or change is tiles


@pytest.mark.parametrize("change", CHANGES)
def test_and_with_several_networks(close: Any, both_orders: Any, change: Any) -> None:
    first, second, _ = both_orders(change, SEVERAL, {"top_k": 1, "rescan": 3})
    assert close(first, second)


@pytest.mark.parametrize("change", [one for one in CHANGES if one is not tiles])
def test_and_where_networks_are_placed(close: Any, both_orders: Any, change: Any) -> None:
    first, second, _ = both_orders(change, SEVERAL, {"looks": 2})
    assert close(first, second)


def test_in_tiles_networks_cannot_be_placed(draw: Any, close: Any, beside: Any) -> None:
    every, _ = draw(SEVERAL, {}, scripts=beside(tiles))
    looked, p = draw(SEVERAL, {"looks": 1}, scripts=beside(tiles))
    (comment,) = p.comments
    assert "cannot be placed" in comment and "cut the picture up" in comment
    assert close(looked, every)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"recenter": 0.4},
        {"top_k": 1, "rescan": 3},
        {"reuse": 2, "recenter": 0.4},
        {"looks": 1},
        {"looks": 2, "recenter": 0.4, "top_k": 1},
    ],
)
@pytest.mark.parametrize("prompt", [PROMPT, SEVERAL, TWO])
def test_asked_again_the_model_says_the_same(
    draw: Any, close: Any, beside: Any, prompt: Any, settings: Any
) -> None:
    """Every part of it: a difference that someone takes holds what that one has changed alone."""
    seen: list[tuple[torch.Tensor, ...]] = []

    def asking(unet: Any) -> None:
        def function(a: Any) -> Any:
            rest = (a["input"], a["sigma"], a["model_options"])
            both = evaluate(a["model"], a["cond"], a["uncond"], *rest)
            uncond, _ = evaluate(a["model"], a["uncond"], None, *rest)
            seen.append((a["cond_denoised"], both[0], a["uncond_denoised"], both[1], uncond))
            return a["denoised"]

        add_after_guidance(unet, function)

    _, p = draw(prompt, settings, scripts=beside(asking))
    assert seen and not any("failed" in text for text in p.comments)
    for cond, cond_again, uncond, uncond_again, uncond_alone in seen:
        assert close(cond_again, cond)
        assert close(uncond_again, uncond) and close(uncond_alone, uncond)


def test_a_text_of_its_own_is_answered_as_the_unconditional(draw: Any, close: Any, beside: Any) -> None:
    """With the base's, where the unconditional is the base's."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def asking(unet: Any) -> None:
        def function(a: Any) -> Any:
            (part,) = a["cond"]
            text = part["model_conds"]["c_crossattn"]
            own = [{**part, "model_conds": {"c_crossattn": type(text)(text.cond.flip(1))}}]
            got, _ = evaluate(a["model"], own, None, a["input"], a["sigma"], a["model_options"])
            base, _ = evaluate(a["model"], own, None, a["input"], a["sigma"], {})
            seen.append((got, base))
            return a["denoised"]

        add_after_guidance(unet, function)

    draw(TWO, {"recenter": 1.0}, scripts=beside(asking))
    assert seen and all(close(got, base) for got, base in seen)


@pytest.mark.parametrize("before", [reference, reference_inside])
def test_what_others_evaluate_before_is_no_step(webui: Any, draw: Any, beside: Any, before: Any) -> None:
    """Neither before the conditions are there, nor in a function before the guidance."""
    _, p = draw(PROMPT, {}, scripts=beside(before))
    (one,) = webui.server.history.records()[0].run.passes
    assert [step.index for step in one.report.steps] == list(range(p.steps))


@pytest.mark.parametrize(
    ("asking", "function", "width"),
    [(a_part_again, "calc_cond_uncond_batch", 4), (reference, "sampling_function_inner", 8)],
)
def test_where_no_weights_are_all_networks_act_merged(
    webui: Any,
    draw: Any,
    close: Any,
    beside: Any,
    monkeypatch: pytest.MonkeyPatch,
    asking: Any,
    function: str,
    width: int,
) -> None:
    """With their text encoder parts: what is evaluated then is what Forge itself would get."""
    module = webui.backend("sampling.sampling_function")
    original = getattr(module, function)
    seen: list[torch.Tensor] = []

    def watched(*evaluation: Any) -> Any:
        found = original(*evaluation)
        if found[0].shape[-1] == width:
            seen.append(found[0])
        return found

    monkeypatch.setattr(module, function, watched)
    first = []
    other, ours = beside(asking)
    for scripts in ([other, ours], [other]):
        seen.clear()
        draw(TWO, {}, scripts=scripts)
        first.append(seen[0])
    assert close(*first)


@pytest.mark.parametrize("failing", [torch.cuda.OutOfMemoryError("no"), ValueError("no")])
def test_a_further_call_that_fails_gets_all_networks_merged(
    webui: Any, draw: Any, beside: Any, failing: Exception
) -> None:
    calls: list[str] = []

    def fails_once(original: Any, *arguments: Any, **c: Any) -> Any:
        calls.append("model")
        if calls.count("model") == 2 and "again" in calls:
            raise failing
        return original(*arguments, **c)

    def asking(unet: Any) -> None:
        def function(a: Any) -> Any:
            calls[:] = ["again"]
            rest = (a["input"], a["sigma"], a["model_options"])
            again, _ = evaluate(a["model"], a["cond"], None, *rest)
            assert again.isfinite().all()
            calls.clear()
            return a["denoised"]

        add_after_guidance(unet, function)

    webui.around_calls(fails_once)
    _, p = draw(TWO, {}, scripts=beside(asking))
    assert [text for text in p.comments if "from there on they get all networks merged" in text]
    assert not [text for text in p.comments if "composing failed" in text]


def test_a_function_that_evaluates_before_ours_does_not_take_the_answer(close: Any, both_orders: Any) -> None:
    def early(unet: Any) -> None:
        def before(*evaluation: Any) -> Any:
            model, cond, uncond, x, t, options = evaluation
            evaluate(model, cond, uncond, x, t, options)
            return evaluation

        unet.model_options.setdefault("sampler_pre_cfg_function", []).append(before)

    before, after, merged = both_orders(early)
    assert close(before, merged) and close(after, merged)
