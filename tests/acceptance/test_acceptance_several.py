"""Several networks: a picture of its own, the same every time."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


def tags(names: list[str]) -> str:
    return "a cat " + " ".join(f"<lora:{name}:1>" for name in names)


@pytest.mark.parametrize("looks", [0, 2])
@pytest.mark.parametrize("count", [2, 3])
def test_it_is_neither_the_merged_picture_nor_that_of_one(
    webui: Any, names: list[str], apart: Callable[..., int], levels: int, count: int, looks: int
) -> None:
    prompt, settings = tags(names[:count]), {"looks": looks}
    composed = webui.draw(prompt, settings)
    assert composed.comments == ""
    assert "LoRAtorio enabled: True" in composed.infotext
    assert apart(composed, webui.draw(prompt), "merged") > levels
    for name in names[:count]:
        assert apart(composed, webui.draw(tags([name])), name) > levels
        assert apart(composed, webui.draw(tags([name]), settings), f"{name} composed") > levels
    assert np.array_equal(composed.pictures, webui.draw(prompt, settings).pictures)


@pytest.mark.parametrize("looks", [0, 2])
def test_the_order_of_tags_does_not_matter(
    webui: Any, names: list[str], apart: Callable[..., int], looks: int
) -> None:
    one, other = (webui.draw(tags(order), {"looks": looks}) for order in (names[:3], names[2::-1]))
    assert apart(one, other) <= 1


def test_steps_between_looks_make_as_many_predictions_as_plain_ones(webui: Any, names: list[str]) -> None:
    hires_fix = {
        "enable_hr": True,
        "hr_scale": 2,
        "denoising_strength": 0.6,
        "hr_additional_modules": ["Use same choices"],  # only Forge knows this and the next one
        "hr_cfg": 7,
    }
    composed = webui.draw(tags(names[:3]), {"looks": 2}, **hires_fix)
    assert composed.comments == ""
    number = webui.call("/loratorio/v1/reports")["reports"][0]["number"]
    first, hires = webui.call(f"/loratorio/v1/reports/{number}")["passes"]
    modes = [step["mode"] for step in first["report"]["steps"]]
    assert modes.count("composed") == 2 and modes.count("placed") == len(modes) - 2
    steps = [*first["report"]["steps"], *hires["report"]["steps"]]
    assert all(step["rows"] == step["plain_rows"] for step in steps if step["mode"] == "placed")
    assert {step["mode"] for step in hires["report"]["steps"]} == {"placed"}


@pytest.mark.parametrize("looks", [0, 2])
def test_a_batch_holds_the_single_pictures(
    webui: Any, names: list[str], apart: Callable[..., int], looks: int
) -> None:
    def part(answer: Any, place: int) -> Any:
        return type(answer)(answer.pictures[place : place + 1], answer.info)

    prompt = tags(names[:3])
    batch = webui.draw(prompt, {"looks": looks}, batch_size=2)
    for place in range(2):
        single = webui.draw(prompt, {"looks": looks}, seed=42 + place)
        assert apart(part(batch, place), part(single, 0), f"picture {place + 1}") <= 1


def test_the_infotext_brings_the_settings_back(webui: Any, names: list[str]) -> None:
    try:
        webui.draw_again(webui.draw("a cat"))
    except urllib.error.HTTPError:
        pytest.skip("this WebUI's API cannot read its own infotext of a plain picture")
    prompt = tags(names[:2])
    first = webui.draw(prompt, {"temperature": 0.3, "patch_size": 4})
    again = webui.draw_again(first)
    assert np.array_equal(first.pictures, again.pictures)


def test_networks_of_the_pool_take_part(webui: Any, names: list[str], apart: Callable[..., int]) -> None:
    tagged = webui.draw(tags(names[:2]), {})
    pooled = webui.draw(tags(names[:1]), {"pool": f"{names[1]}, nobody_has_this_name"})
    assert "nobody_has_this_name" in pooled.comments
    assert apart(pooled, tagged) <= 1
