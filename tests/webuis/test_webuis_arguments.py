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
