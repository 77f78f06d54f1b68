"""Several networks: a picture of its own, the same every time."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest


def tags(names: list[str]) -> str:
    return "a cat " + " ".join(f"<lora:{name}:1>" for name in names)


@pytest.mark.parametrize("count", [2, 3])
def test_it_is_neither_the_merged_picture_nor_that_of_one(
    webui: Any, names: list[str], apart: Callable[..., int], levels: int, count: int
) -> None:
    prompt = tags(names[:count])
    composed = webui.draw(prompt, {})
    assert composed.comments == ""
    assert "LoRAtorio enabled: True" in composed.infotext
    assert apart(composed, webui.draw(prompt), "merged") > levels
    for name in names[:count]:
        assert apart(composed, webui.draw(tags([name])), name) > levels
        assert apart(composed, webui.draw(tags([name]), {}), f"{name} composed") > levels
    assert np.array_equal(composed.pictures, webui.draw(prompt, {}).pictures)


def test_the_order_of_tags_does_not_matter(webui: Any, names: list[str], apart: Callable[..., int]) -> None:
    one, other = (webui.draw(tags(order), {}) for order in (names[:3], names[2::-1]))
    assert apart(one, other) <= 1


def test_a_batch_holds_the_single_pictures(webui: Any, names: list[str], apart: Callable[..., int]) -> None:
    def part(answer: Any, place: int) -> Any:
        return type(answer)(answer.pictures[place : place + 1], answer.info)

    prompt = tags(names[:3])
    batch = webui.draw(prompt, {}, batch_size=2)
    for place in range(2):
        single = webui.draw(prompt, {}, seed=42 + place)
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
