"""What the estimate says before a generation is what its report says afterwards, and what the model did."""

from __future__ import annotations

from typing import Any

import pytest

TWO = "a cat <lora:te:1> <lora:lin:1>"
FOUR = "a cat <lora:te:1> <lora:lin:1> <lora:loha:1> <lora:full:1>"
LONG = "one two three four five six seven eight nine"  # longer than the negative prompt


def foretold(webui: Any, prompt: str, settings: dict[str, Any], **plan: object) -> dict[str, Any]:
    """The API's answer."""
    asked = {"prompt": prompt, "settings": settings, "steps": 4, **plan}
    answer = webui.start_app(api=True).post("/loratorio/v1/estimate", json=asked)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "default": (TWO, {}, {}),
    "one network": ("a cat <lora:lin:1>", {}, {}),
    "AND": ("a cat AND a dog <lora:te:1> <lora:lin:1>", {}, {}),
    "AND on lines of their own": ("a cat\nAND\na dog :0.5 AND a cow:2\n<lora:te:1> <lora:lin:1>", {}, {}),
    "the same AND the same": ("a cat AND a cat <lora:te:1> <lora:lin:1>", {"recenter": 0.5}, {}),
    "AND inside of words and in small letters": ("a bAND and SAND " + TWO, {}, {}),
    "AND with guidance off": ("a cat AND a dog " + TWO, {}, {"cfg_scale": 1.0}),
    "AND merged at first": ("a cat AND a dog " + TWO, {"start": 0.5}, {}),
    "start": (TWO, {"start": 0.5}, {}),
    "end": (TWO, {"end": 0.5}, {}),
    "start and end": (TWO, {"start": 0.25, "end": 0.75, "recenter": 0.5}, {}),
    "nowhere inside": (TWO, {"start": 1.0}, {}),
    "top k": (FOUR, {"top_k": 2}, {}),
    "top k of each patch": (FOUR, {"top_k": 2, "top_k_scope": "patch"}, {}),
    "rescan": (FOUR, {"top_k": 2, "rescan": 3}, {}),
    "rescan with AND": ("a dog AND " + FOUR, {"top_k": 1, "rescan": 2, "recenter": 0.5}, {}),
    "rescan within a window": (FOUR, {"top_k": 1, "rescan": 2, "start": 0.25}, {}),
    "reuse": (TWO, {"reuse": 2}, {}),
    "reuse and rescan": (FOUR, {"reuse": 2, "top_k": 1, "rescan": 3}, {}),
    "recenter 0": (TWO, {"recenter": 0.0}, {}),
    "recenter 0.5": (TWO, {"recenter": 0.5}, {}),
    "recenter 1": (TWO, {"recenter": 1.0}, {}),
    "CFG scale 1": (TWO, {"recenter": 0.5}, {"cfg_scale": 1.0}),
    "two pictures": (TWO, {"start": 0.25}, {"batch_size": 2}),
    "two pictures with AND and rescan": (
        "a dog AND " + FOUR,
        {"top_k": 1, "rescan": 2, "recenter": 0.0},
        {"batch_size": 2},
    ),
    "kept merged": (TWO + " <lora:loha:1:compose=off>", {}, {}),
    "of the pool": ("a cat <lora:te:1>", {"pool": "lin, loha"}, {}),
    "small calls": (TWO, {"batch_rows": 1, "end": 0.5}, {}),
    "prompts of other lengths": (LONG + TWO, {"start": 0.25}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_foretold_reported_and_done_are_the_same(webui: Any, draw: Any, case: str) -> None:
    prompt, settings, around = CASES[case]
    images = around.get("batch_size", 1)
    expected = foretold(webui, prompt, settings, **around)
    draw([prompt] * images, settings, cfg_scale=around.get("cfg_scale", 5.0))
    (one,) = webui.server.history.records()[0].run.passes
    report = one.report
    assert report.finished
    assert [images * rows for rows in expected["rows"]] == [step.rows for step in report.steps]
    assert {images * expected["plain_rows"]} == {step.plain_rows for step in report.steps}
    assert expected["ratio"] == pytest.approx(report.totals.ratio)
    assert sum(webui.called.calls) == report.totals.rows


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("prompt", [TWO, LONG + TWO, f"{LONG} AND a dog AND a cow {TWO}"])
@pytest.mark.parametrize("early", [0.0, 0.5])
def test_calls_are_those_of_the_model(
    webui: Any, draw: Any, batched: bool, padded: bool, prompt: str, early: float
) -> None:
    """The WebUI's own calls for the base among them, however its options part them."""
    webui.opts.batch_cond_uncond, webui.opts.pad_cond_uncond = batched, padded
    webui.opts.skip_early_cond = early
    draw([prompt] * 2, {"start": 0.5, "recenter": 0.5})
    totals = webui.server.history.records()[0].run.passes[0].report.totals
    assert (totals.calls, totals.rows) == (len(webui.called.calls), sum(webui.called.calls))
