"""Other extensions around the model's calls, or calling it once more; with hints, masks and areas."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.webuis.forge import changes
from tests.webuis.forge.changes import PROMPT, SEVERAL, TWO, after_guidance, evaluate

BATCH = ["a cat <lora:te:1>", "a red dog"]


@pytest.mark.parametrize(
    ("prompt", "change"),
    [
        (BATCH, changes.control),
        *((prompt, one) for prompt in (PROMPT, BATCH) for one in (*changes.CHANGES, *changes.SURROUNDINGS)),
    ],
)
def test_other_extensions_act_as_without_ours(
    draw: Any, close: Any, both_orders: Any, change: Any, prompt: Any
) -> None:
    before, after, merged = both_orders(change, prompt)
    assert close(before, merged) and close(after, merged)
    assert not close(draw(prompt)[0], merged) or change in (changes.tiles, changes.masks)


@pytest.mark.parametrize(
    "change", [*changes.CHANGES, changes.cfg_function, changes.post_cfg_function, changes.control]
)
def test_and_with_several_networks(close: Any, both_orders: Any, change: Any) -> None:
    first, second, _ = both_orders(change, SEVERAL, {"top_k": 1, "rescan": 3})
    assert close(first, second)


@pytest.mark.parametrize("change", [one for one in changes.CHANGES if one is not changes.tiles])
def test_and_where_networks_are_placed(close: Any, both_orders: Any, change: Any) -> None:
    first, second, _ = both_orders(change, SEVERAL, {"looks": 2})
    assert close(first, second)


def test_in_tiles_networks_cannot_be_placed(draw: Any, close: Any, beside: Any) -> None:
    every, _ = draw(SEVERAL, {}, scripts=beside(changes.tiles))
    looked, p = draw(SEVERAL, {"looks": 1}, scripts=beside(changes.tiles))
    (comment,) = p.comments
    assert "cannot be placed" in comment and "cut the picture up" in comment
    assert close(looked, every)


@pytest.mark.parametrize(
    "settings",
    [
        *({}, {"recenter": 0.4}, {"top_k": 1, "rescan": 3}, {"reuse": 2, "recenter": 0.4}, {"looks": 1}),
        {"looks": 2, "recenter": 0.4, "top_k": 1},
    ],
)
@pytest.mark.parametrize("prompt", [PROMPT, SEVERAL, TWO])
def test_asked_again_the_model_says_the_same(
    draw: Any, close: Any, beside: Any, prompt: Any, settings: Any
) -> None:
    """Every part of it: a difference that someone takes holds what that one has changed alone."""
    seen: list[tuple[torch.Tensor, ...]] = []

    @after_guidance
    def asking(a: Any) -> Any:
        both = evaluate(a, a["cond"], a["uncond"])
        uncond, _ = evaluate(a, a["uncond"])
        seen.append((a["cond_denoised"], both[0], a["uncond_denoised"], both[1], uncond))
        return a["denoised"]

    _, p = draw(prompt, settings, scripts=beside(asking))
    assert seen and not any("failed" in text for text in p.comments)
    for cond, cond_again, uncond, uncond_again, uncond_alone in seen:
        assert close(cond_again, cond)
        assert close(uncond_again, uncond) and close(uncond_alone, uncond)


def test_a_text_of_its_own_is_answered_as_the_unconditional(draw: Any, close: Any, beside: Any) -> None:
    """With the base's, where the unconditional is the base's."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    @after_guidance
    def asking(a: Any) -> Any:
        (part,) = a["cond"]
        text = part["model_conds"]["c_crossattn"]
        own = [{**part, "model_conds": {"c_crossattn": type(text)(text.cond.flip(1))}}]
        seen.append((evaluate(a, own)[0], evaluate(a, own, options={})[0]))
        return a["denoised"]

    draw(TWO, {"recenter": 1.0}, scripts=beside(asking))
    assert seen and all(close(got, base) for got, base in seen)


@pytest.mark.parametrize("before", [changes.reference, changes.reference_inside])
def test_what_others_evaluate_before_is_no_step(webui: Any, draw: Any, beside: Any, before: Any) -> None:
    """Neither before the conditions are there, nor in a function before the guidance."""
    _, p = draw(PROMPT, {}, scripts=beside(before))
    (one,) = webui.server.history.records()[0].run.passes
    assert [step.index for step in one.report.steps] == list(range(p.steps))


@pytest.mark.parametrize(
    ("asking", "function", "width"),
    [(changes.a_part_again, "calc_cond_uncond_batch", 4), (changes.reference, None, 8)],
)
def test_where_no_weights_are_all_networks_act_merged(
    draw: Any,
    close: Any,
    beside: Any,
    monkeypatch: pytest.MonkeyPatch,
    asking: Any,
    function: str | None,
    width: int,
) -> None:
    """With their text encoder parts: what is evaluated then is what Forge itself would get."""
    module, name = changes.sampling(), function or changes.whole_evaluation()
    original = getattr(module, name)
    seen: list[torch.Tensor] = []

    def watched(*evaluation: Any) -> Any:
        found = original(*evaluation)
        if found[0].shape[-1] == width:
            seen.append(found[0])
        return found

    monkeypatch.setattr(module, name, watched)
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

    @after_guidance
    def asking(a: Any) -> Any:
        calls[:] = ["again"]
        assert evaluate(a, a["cond"])[0].isfinite().all()
        calls.clear()
        return a["denoised"]

    webui.around_calls(fails_once)
    _, p = draw(TWO, {}, scripts=beside(asking))
    assert [text for text in p.comments if "from there on they get all networks merged" in text]
    assert not [text for text in p.comments if "composing failed" in text]


def test_a_function_that_evaluates_before_ours_does_not_take_the_answer(close: Any, both_orders: Any) -> None:
    @changes.before_guidance
    def early(*evaluation: Any) -> Any:
        changes.sampling().calc_cond_uncond_batch(*evaluation)
        return evaluation

    before, after, merged = both_orders(early)
    assert close(before, merged) and close(after, merged)
