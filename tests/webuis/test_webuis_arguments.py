"""Tags that say where in the picture and at which steps a network acts."""

from __future__ import annotations

from typing import Any

import pytest
import torch

LOOKS = {"looks": 2, "gain": 0.5}
EVERY_STEP = {"gain": 0.5}


@pytest.mark.parametrize("settings", [LOOKS, EVERY_STEP])
@pytest.mark.parametrize("network", ["lin", "te"])
def test_a_network_that_never_acts_is_as_if_it_were_not_there(
    draw: Any, close: Any, settings: dict[str, Any], network: str
) -> None:
    plain, _ = draw("a cat")
    silent, p = draw(f"a cat <lora:{network}:1:steps=0-0>", settings)
    (comment,) = p.comments
    assert "no network acted at any of the 4 evaluations, as their tags say" in comment
    assert close(silent, plain)
    one, _ = draw("a cat <lora:locon:1>", settings)
    two, p = draw(f"a cat <lora:{network}:1:steps=0-0> <lora:locon:1>", settings)
    assert p.comments == {} and close(two, one) and not close(one, plain)
    assert torch.equal(draw("a cat")[0], plain)


@pytest.mark.parametrize("settings", [LOOKS, EVERY_STEP])
def test_everywhere_and_always_is_as_without(draw: Any, close: Any, settings: dict[str, Any]) -> None:
    usual, _ = draw("a cat <lora:lin:1> <lora:locon:1>", settings)
    said, p = draw("a cat <lora:lin:1:at=0-1,0-1:steps=0-1> <lora:locon:1:fade=1-1>", settings)
    assert p.comments == {} and close(said, usual)


@pytest.mark.parametrize("settings", [LOOKS, EVERY_STEP])
def test_a_network_speaks_in_its_part_of_the_picture(draw: Any, close: Any, settings: dict[str, Any]) -> None:
    usual, _ = draw("a cat <lora:lin:1> <lora:locon:1>", settings)
    left, p = draw("a cat <lora:lin:1:at=left> <lora:locon:1:steps=0.5-1>", settings)
    assert p.comments == {} and not close(left, usual)
    report = p.loratorio.passes[0].report
    assert [use.at for use in report.uses] == ["left", ""]
    for step in report.steps:
        width = step.maps.shape[-1]
        assert not step.maps[0, ..., width // 2 + 1 :].any() and step.maps[0, ..., 0].all()
    half = len(report.steps) // 2
    assert all(step.chosen[0] == ("lin",) for step in report.steps[:half])
    assert all(len(step.chosen[0]) == 2 for step in report.steps[half:])


def test_what_is_wrong_is_said_and_the_rest_acts(draw: Any, close: Any) -> None:
    usual, _ = draw("a cat <lora:lin:1>", LOOKS)
    wrong, p = draw("a cat <lora:lin:1:at=nowhere:compose=on>", LOOKS)
    (comment,) = p.comments
    assert "network 'lin': at is 'nowhere'; give left, right" in comment
    assert close(wrong, usual)


@pytest.mark.parametrize("others", ["", " <lora:lin:1>", " <lora:lin:1:compose=off>"])
@pytest.mark.parametrize("network", ["te", "locon"])
@pytest.mark.parametrize("settings", [LOOKS, EVERY_STEP])
def test_a_network_acts_on_one_side_of_the_guidance_alone(
    draw: Any, close: Any, settings: dict[str, Any], network: str, others: str
) -> None:
    """Against the WebUI's own pictures of one step: their guidance is u + w · (c − u), and c for w = 1."""

    def one_step(prompt: str, settings: Any = None, scale: float = 5.0) -> Any:
        latents, p = draw(f"a cat{prompt}", settings, negative="a red dog", cfg_scale=scale, steps=1)
        assert p.comments == {}
        return latents

    w = 5.0
    plain, merged, plain_cond, merged_cond = (
        one_step(tag, scale=scale) for scale in (w, 1.0) for tag in ("", f" <lora:{network}:1>")
    )
    without = one_step(others, settings) if others.endswith(":1>") else one_step(others)
    found = one_step(f"{others} <lora:{network}:1:cond=0>", settings)
    if "compose=off" not in others:  # which changes the predictions for both sides
        assert close(found, without + (merged - w * merged_cond) - (plain - w * plain_cond))
    else:
        both, both_cond = (one_step(f"{others} <lora:{network}:1>", scale=scale) for scale in (w, 1.0))
        assert close(found, both - w * both_cond + w * one_step(others, scale=1.0))
    assert not close(found, without)
    if not others:
        positive = one_step(f" <lora:{network}:1:compose=off:uncond=0>", settings)
        assert close(positive, plain - w * plain_cond + w * merged_cond)


def test_a_composed_network_acts_on_the_other_side_where_it_is_told_to(draw: Any, close: Any) -> None:
    merged, _ = draw("a cat <lora:te:1>")
    for settings in (LOOKS, EVERY_STEP):
        assert close(draw("a cat <lora:te:1:uncond=1>", settings)[0], merged)
        assert not close(draw("a cat <lora:te:1>", settings)[0], merged)


def test_without_guidance_a_network_has_no_other_side(draw: Any, close: Any) -> None:
    plain, _ = draw("a cat", cfg_scale=1.0)
    found, p = draw("a cat <lora:te:1:cond=0>", LOOKS, cfg_scale=1.0)
    (comment,) = p.comments
    assert "CFG scale is 1, so there is no unconditional prediction for network 'te'" in comment
    assert close(found, plain)


@pytest.mark.parametrize("settings", [LOOKS, EVERY_STEP])
@pytest.mark.parametrize("steps", ["steps=0-0.5", "steps=0.25-1:fade=1-0.5"])
def test_a_kept_network_keeps_to_its_steps(
    draw: Any, close: Any, settings: dict[str, Any], steps: str
) -> None:
    alone, _ = draw(f"a cat <lora:locon:1:{steps}>", {**settings, "recenter": 0.0})
    kept, p = draw(f"a cat <lora:locon:1:compose=off:{steps}>", settings)
    assert p.comments == {} and close(kept, alone)
    assert not close(kept, draw("a cat <lora:locon:1:compose=off>", settings)[0])
    both, p = draw(f"a cat <lora:lin:1> <lora:locon:1:compose=off:{steps}>", settings)
    assert p.comments == {} and not close(both, kept)
    never, _ = draw("a cat <lora:lin:1> <lora:te:1:compose=off:steps=0-0>", settings)
    assert close(never, draw("a cat <lora:lin:1>", settings)[0])


def test_what_fails_leaves_a_network_for_the_unconditional_out(
    draw: Any, close: Any, failing_in_step: Any
) -> None:
    failing_in_step(0)
    found, p = draw("a cat <lora:lin:1> <lora:te:1:cond=0>", EVERY_STEP)
    assert any("'te' (cond=0) does not act then" in comment for comment in p.comments)
    assert close(found, draw("a cat <lora:lin:1>")[0])
    assert close(draw("a cat <lora:te:1>")[0], draw("a cat <lora:te:1:compose=off>", EVERY_STEP)[0])
