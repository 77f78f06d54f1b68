"""Places and steps: what the panel writes into the tags, and what it shows of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gradio as gr
import pytest
from hypothesis import given, strategies as st

from loratorio_ext.networks.arguments import Area
from loratorio_ext.networks.prompt import parse_prompt
from loratorio_ext.server.words import Words
from loratorio_ext.ui.panel.places import (
    EVERYWHERE,
    PLACES,
    PlacePicker,
    grid_of,
    mask_of,
    picture_of,
    with_arguments,
    word_of,
)

PROMPT = "a <lora:star:0.8> b <lora:moon:1:at=left:steps=0-0.4> <lora:night:1:compose=off>"


@pytest.fixture
def picker(bench: Any) -> PlacePicker:
    with gr.Blocks():
        return PlacePicker(bench.server, str, Words())


def shown(picker: PlacePicker, prompt: str, chosen: object, total: int = 20) -> tuple[Any, ...]:
    name, names, news, _ = picker.following(prompt, total, None, chosen, "", None, "", 0, 1)
    _, (_, place, _, first, last) = json.loads(news)
    assert name["choices"] == names
    return name["value"], names, place, first, last


def test_the_controls_show_what_the_tag_of_the_chosen_network_says(picker: PlacePicker) -> None:
    assert shown(picker, PROMPT, "moon") == ("moon", ["star", "moon"], "left", 0.0, 0.4)
    assert shown(picker, PROMPT, "gone") == ("star", ["star", "moon"], "everywhere", 0.0, 1.0)
    assert shown(picker, "a cat", "moon") == (None, [], "everywhere", 0.0, 1.0)
    assert shown(picker, "<lora:star:1:at=0.1-0.3,0-1>", None)[2] is None
    # The list is left alone where it is right: it may be open, or another name may have been chosen since.
    assert picker.following(PROMPT, 20, ["star", "moon"], "moon")[0] == gr.update()


@pytest.mark.parametrize(
    ("steps", "total", "first", "last"),
    [
        ("5-10", 20, 0.25, 0.5),
        ("5-10", 12, 0.42, 0.83),
        ("8-", 20, 0.4, 1),
        ("30-40", 20, 1, 1),
        ("0-1 steps", 1, 0, 1),
    ],
)
def test_numbers_of_steps_fit_into_the_sliders(
    picker: PlacePicker, writes: dict[str, Any], steps: str, total: int, first: float, last: float
) -> None:
    prompt = f"<lora:star:1:steps={steps}>"
    assert shown(picker, prompt, "star", total)[3:] == (first, last)
    *_, picture = picker.following(prompt, total, None, "star")
    assert f'x="{first * 120:.1f}" y="94"' in picture["value"] and "inf" not in picture["value"]
    assert writes["place_stepped"](prompt, "star", 0.15, last)[0] == f"<lora:star:1:steps=0.15-{last:g}>"


@pytest.mark.parametrize(
    ("arguments", "after"),
    [
        ({"at": "top-left"}, "<lora:moon:1:steps=0-0.4:at=top-left>"),
        ({"at": ""}, "<lora:moon:1:steps=0-0.4>"),
        ({"steps": ""}, "<lora:moon:1:at=left>"),
        ({"steps": "0.5-1"}, "<lora:moon:1:at=left:steps=0.5-1>"),
    ],
)
def test_a_choice_is_written_into_the_tag_of_its_network_alone(arguments: Any, after: str) -> None:
    written = with_arguments(PROMPT, "moon", **arguments)
    assert written == PROMPT.replace("<lora:moon:1:at=left:steps=0-0.4>", after)


@given(st.text("<>:=a lorymn-1.\n", max_size=60), st.sampled_from((*PLACES, "")))
def test_all_that_is_not_the_place_of_this_network_stays(around: str, at: str) -> None:
    before = f"{around} <lora:moon:0.5:te=0.2:fade=1-0> {around}"
    after = with_arguments(before, "moon", at=at)
    assert with_arguments(after, "moon", at=at) == after
    was, now = parse_prompt(before), parse_prompt(after)
    assert now.text == was.text
    tags = {tag.name: tag for tag in was.tags}
    for tag in now.tags:
        old = tags[tag.name]
        assert (tag.te, tag.unet, tag.own.fade, tag.own.steps) == (
            old.te,
            old.unet,
            old.own.fade,
            old.own.steps,
        )
        assert tag.own.at == (at if tag.name == "moon" else old.own.at)


def test_every_place_is_one_that_tags_know_and_found_again() -> None:
    assert [word_of(place) for place in PLACES] == list(PLACES)
    assert len({Area.parse(place) for place in PLACES}) == 9
    assert word_of("") == word_of("0-1,0-1") == EVERYWHERE
    assert word_of("0-0.5,0-1") == "left" and word_of("0.1-0.2,0-1") == ""


def test_the_picture_shows_each_network_and_takes_no_html(picker: PlacePicker) -> None:
    tags = list(parse_prompt('<lora:a"b<i:1:at=right:steps=0.5-1> <lora:moon:1>').tags)
    html = picture_of(tags, 20, Words())
    assert html.count("<rect") == 4 and "a&quot;b&lt;i" in html
    assert 'x="61.5" y="1.5" width="57.0" height="87.0"' in html  # the right half, less its line
    assert picture_of([], 20, Words()) == ""


@pytest.mark.parametrize(
    ("at", "mask"),
    [
        ("", "/".join(["0" * 8] * 8)),
        ("0-1,0-1", "/".join(["0" * 8] * 8)),
        ("top-left", "/".join(["11110000"] * 4 + ["00000000"] * 4)),
        ("0.25-1,0-0.125", "/".join(["00111111"] + ["00000000"] * 7)),
        ("110/001", "110/001"),
    ],
)
def test_the_grid_shows_the_place_of_the_tag(picker: PlacePicker, at: str, mask: str) -> None:
    assert mask_of(at) == mask
    tag = f"<lora:star:1:at={at}>" if at else "<lora:star:1>"
    *_, news, picture = picker.following(tag, 20, None, "star")
    assert json.loads(news)[1][2] == mask
    html = picture["value"]
    columns = len(mask.split("/")[0])
    assert f'data-columns="{columns}"' in html
    assert html.count('class="on"') == mask.count("1") and html.count('class="off"') == mask.count("0")
    assert grid_of(mask, "#123456", Words()).count("<rect") == mask.count("1") + mask.count("0")


def test_the_picture_shows_the_cells_of_a_mask() -> None:
    html = picture_of(list(parse_prompt("<lora:star:1:at=0010/0100>").tags), 20, Words())
    assert html.count("<rect") == 1  # its steps
    assert 'd="M60.00 0.00h30.00v45.00h-30.00zM30.00 45.00h30.00v45.00h-30.00z"' in html
    assert word_of("0010/0100") == ""


Written = Callable[..., Any]


@pytest.fixture
def writes(bench: Any) -> dict[str, Written]:
    """Event's control → what it answers."""
    with gr.Blocks() as blocks:
        prompt = gr.Textbox()
        PlacePicker(bench.server, str, Words()).connect([prompt], lambda *values: (values[0], 20), "")
    ids = {number: block.elem_id for number, block in blocks.blocks.items()}
    return {ids[number]: one.fn for one in blocks.fns.values() for number, _ in one.targets if number in ids}


def test_what_the_page_sends_is_written_or_left(writes: dict[str, Written]) -> None:
    assert writes["place_placed"]("<lora:star:1>", "star", "top")[0] == "<lora:star:1:at=top>"
    assert writes["place_placed"]("<lora:star:1:at=top>", "star", "everywhere")[0] == "<lora:star:1>"
    assert writes["place_stepped"]("<lora:star:1>", "star", 0.7, 0.2)[0] == "<lora:star:1:steps=0.2-0.7>"
    assert writes["place_stepped"]("<lora:star:1:steps=0-0.5>", "star", 0, 1)[0] == "<lora:star:1>"
    for sent in ((None, None, None, None), ("x", "star", "?", 0.5), ("x", "star", float("nan"), 9)):
        assert writes["place_stepped"](*sent) == [gr.update()] * 2
    assert writes["place_placed"]("x", ["star"], {}) == [gr.update()] * 3


def test_what_is_painted_is_written_or_left(writes: dict[str, Written]) -> None:
    paint = writes["place_masked"]
    assert paint("<lora:star:1>", "star", "10/11")[0] == "<lora:star:1:at=10/11>"
    assert paint("<lora:star:1:at=left>", "star", "10/11")[0] == "<lora:star:1:at=10/11>"
    for everywhere in ("00/00", "11/11", "0", ""):
        assert paint("<lora:star:1:at=left>", "star", everywhere)[0] == "<lora:star:1>"
    for sent in ("10/1", "2", "x>y", "1" * 17):
        assert paint("<lora:star:1:at=left>", "star", sent) == [gr.update()] * 3


def test_what_is_written_is_told_with_it_and_place_and_mask_show_each_other(
    writes: dict[str, Written],
) -> None:
    painted = "/".join(["1" * 8] * 4 + ["0" * 8] * 4)
    prompt, told, mask = writes["place_placed"]("<lora:star:1>", "star", "top")
    assert mask["value"] == painted
    assert writes["place_masked"](prompt, "star", painted)[2]["value"] is None
    prompt, other = writes["place_stepped"](prompt, "star", 0.5, 1)
    assert prompt == "<lora:star:1:at=top:steps=0.5-1>" and other != told


def test_a_fade_without_its_name_stays_with_the_network() -> None:
    after = with_arguments("<lora:moon:1:steps=0.2-0.6:0.8-0>", "moon", steps="0-0.5")
    assert after == "<lora:moon:1:fade=0.8-0:steps=0-0.5>"
