"""What the page does with its controls' values, clicks on networks, runs; no browser."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import pytest
from hypothesis import given, strategies as st
from PIL import Image

from loratorio_ext.server.history import History
from loratorio_ext.settings import SETTINGS, Settings
from loratorio_ext.ui.page.generator import (
    Facts,
    job_of,
    names_like,
    read_kept,
    with_tag_toggled,
    without_folders,
)
from loratorio_ext.ui.page.runs import MOST_TICKETS, Runs

PROMPT = "a red star <lora:star:1> <lora:moon:0.5>"
FACTS = Facts("toy", ("Euler", "DDIM", "DPM++ 2M Karras"), 20, 4.0, (64, 64), 4)


def values(**changes: object) -> list[object]:
    return list({**DEFAULTS, **changes}.values())


DEFAULTS: Mapping[str, object] = MappingProxyType(
    {
        "prompt": PROMPT,
        "negative": "",
        "steps": 20,
        "cfg": 4,
        "sampler": "Euler",
        "width": 64,
        "height": 64,
        "seed": 5,
        "strength": 0.75,
        "hires_scale": 1,
        "hires_steps": 0,
        "hires_strength": 0.7,
        "pictures": 1,
        "image": None,
        **{one.name: one.default for one in SETTINGS},
    }
)
NAMES = tuple(DEFAULTS)


def test_values_of_the_page_become_a_job() -> None:
    made = job_of(values(top_k=2, enabled=True), FACTS)
    assert made.settings == Settings(enabled=True, top_k=2)
    assert (made.prompt, made.steps, made.seed) == (PROMPT, 20, 5)
    assert 0 <= job_of(values(seed=-1), FACTS).seed < 2**32
    # Left out with a word in the line with the cost, and under the picture.
    assert job_of(values(prompt="<lora:star:x>"), FACTS).prompt == "<lora:star:x>"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": None}, "Prompt is None"),
        ({"steps": 0}, "Steps is 0; give a whole number from 1"),
        ({"steps": True}, "Steps is True"),
        ({"steps": "20"}, "Steps is '20'"),
        ({"cfg": float("nan")}, "CFG scale is nan"),
        ({"cfg": 0.5}, "from 1 to"),
        ({"sampler": "Eular"}, "choose one of Euler"),
        ({"sampler": ["Euler"]}, "choose one of"),
        ({"width": 66}, "multiple of 4"),
        ({"height": 10**9}, "Height is 1000000000"),
        ({"seed": None}, "Seed is empty"),
        ({"seed": 1.5}, "Seed is 1.5; give a whole number from -1"),
        ({"seed": 2**60}, "Seed is"),
        ({"pictures": 17}, "1 to 16"),
        ({"strength": 1.1}, "Denoising strength is 1.1; give a number from 0 to 1"),
        ({"hires_strength": None}, "Denoising strength is empty"),
        ({"hires_scale": 0.5}, "Upscale by is 0.5; give a number from 1 to 4"),
        ({"hires_steps": 151}, "Hires steps is 151"),
        ({"hires_scale": 4, "height": 1024}, "makes Height 4096; it must be at most 2048"),
        ({"image": "/nowhere.png"}, "start picture cannot be read; give a PNG, JPEG or WebP file"),
        ({"image": ["a"]}, "start picture cannot be read"),
        ({"image": __file__}, "start picture cannot be read"),
        ({"temperature": 0}, "temperature is 0"),
        ({"start": 0.9, "end": 0.1}, "start not above end"),
    ],
)
def test_wrong_values_are_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        job_of(values(**changes), FACTS)


@pytest.mark.parametrize(
    ("hires_scale", "strength"), [(1, 0.4), (2, 0.6)], ids=["from a picture", "Hires. fix"]
)
def test_the_denoising_strength_is_that_of_what_is_asked_for(
    hires_scale: float, strength: float, tmp_path: Path
) -> None:
    Image.new("RGBA", (12, 8), (250, 0, 0, 255)).save(tmp_path / "a.png")
    chosen = values(
        strength=0.4,
        hires_strength=0.6,
        hires_scale=hires_scale,
        hires_steps=7,
        image=str(tmp_path / "a.png"),
    )
    made = job_of(chosen, FACTS)
    assert (made.denoising_strength, made.hires_scale, made.hires_steps) == (strength, hires_scale, 7)
    assert made.image is not None
    assert (made.image.mode, made.image.size, made.image.getpixel((0, 0))) == ("RGB", (12, 8), (250, 0, 0))
    assert job_of(values(), FACTS).image is None


def test_a_start_picture_that_would_take_all_memory_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "wide.png"
    Image.new("1", (2**14, 2**12 + 1)).save(file)
    with pytest.raises(ValueError, match="has 16384 × 4097 pixels; it must have at most 67108864"):
        job_of(values(image=str(file)), FACTS)


def test_too_few_values_are_named() -> None:
    with pytest.raises(ValueError, match="load the page again"):
        job_of([1, 2], FACTS)


def test_tags_come_and_go() -> None:
    for before, name, after in (
        ("", "star", "<lora:star:1>"),
        ("a star", "star", "a star <lora:star:1>"),
        ("a star <lora:star:0.5:te=1> b <lora:stars:1>", "star", "a star b <lora:stars:1>"),
        ("<lora:a(b:1>", "a(b", ""),
    ):
        assert with_tag_toggled(before, name) == after
    for before, after in (
        ("a", "a <lora:star:1> big star, sky"),
        ("a <lora:star:1> big star, sky b", "a b"),
        ("a <lora:star:1> big stars", "a big stars"),
        ("a big star, sky", "a big star, sky <lora:star:1>"),
    ):
        assert with_tag_toggled(before, "star", ("big star", "sky")) == after
    assert names_like(["Moon light", "moon", "star"], "MOON li") == ["Moon light"]


def test_what_a_page_has_kept_comes_back_as_far_as_it_can_be() -> None:
    own = values(steps=33, sampler="DDIM", seed=7, top_k=2, patch_size=64, hires_scale=1.5)
    assert read_kept(json.dumps(own), FACTS) == own
    for image in ("/somewhere/a.png", {"path": "/etc/hostname"}):
        assert read_kept(json.dumps(values(image=image)), FACTS) == values()
    wrong = values(steps=0, sampler="gone", prompt=None, temperature="x", width=[])
    found = dict(zip(NAMES, read_kept(json.dumps(wrong), FACTS), strict=True))
    assert [name for name, value in found.items() if value is None] == [
        "prompt",
        "steps",
        "sampler",
        "width",
        "image",
        "temperature",
    ]


@given(
    st.text(max_size=40)
    | st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), st.lists).map(json.dumps)
)
def test_whatever_was_kept_is_taken_or_left(text: str) -> None:
    assert len(read_kept(text, FACTS)) == len(values())
    assert read_kept("[" * 50_000, FACTS) == [None] * len(values())


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("no file in '/srv/models/lora' has this name", "no file in 'lora' has this name"),
        (r"C:\models\lora\x.safetensors is broken", "x.safetensors is broken"),
        ("network 'people/anna': 1/2", "network 'people/anna': 1/2"),
    ],
)
def test_where_the_server_keeps_its_files_is_not_said(said: str, shown: str) -> None:
    assert without_folders(said) == shown


@pytest.fixture
def runs() -> Runs:
    return Runs(SimpleNamespace(), History(lambda: (0, 0)))


def test_a_run_that_never_began_does_not_keep_the_next_from_beginning(runs: Runs) -> None:
    lost = runs.ask("me")
    assert runs.stop("me")
    name = runs.ask("me")
    ticket = runs.begin("me", name)
    assert ticket is not None
    assert not ticket.stop.is_set()
    assert runs.begin("me", lost) is None


def test_a_run_begins_with_the_ticket_of_its_own_click_alone(runs: Runs) -> None:
    first, second = runs.ask("me"), runs.ask("me")
    assert first is not None and second is not None and first != second
    assert runs.begin("me", first) is None
    assert runs.begin("you", second) is None
    assert runs.begin("me", second) is not None
    assert runs.ask("me") is None


def test_what_should_have_begun_is_given_up_once(runs: Runs) -> None:
    first = runs.ask("me")
    second = runs.ask("me")
    assert not runs.give_up("me", first)
    assert runs.give_up("me", second)
    assert not runs.give_up("me", second)
    assert not runs.stop("me")
    third = runs.ask("me")
    assert runs.begin("me", third) is not None
    assert not runs.give_up("me", third)
    assert runs.stop("me")


def test_the_oldest_that_wait_make_room_and_one_that_goes_on_does_not(runs: Runs) -> None:
    assert runs.begin("drawing", runs.ask("drawing")) is not None
    for place in range(2 * MOST_TICKETS):
        assert runs.ask(f"stranger {place}")
    assert len(runs._tickets) == MOST_TICKETS
    assert runs.stop("drawing")
    assert not runs.stop("stranger 0")
    assert runs.stop(f"stranger {2 * MOST_TICKETS - 1}")
