"""What the page does with values of its controls, a pasted infotext, and clicks on networks; no browser."""

from __future__ import annotations

import re

import pytest

from loratorio_ext.server.words import Words
from loratorio_ext.settings import SETTINGS, Settings
from loratorio_ext.ui.page.generator import Facts
from loratorio_ext.ui.page.jobs import job_of, names_like, read_pasted, with_tag_toggled

PROMPT = "a red star <lora:star:1> <lora:moon:0.5>"
FACTS = Facts("toy", ("Euler", "DDIM", "DPM++ 2M Karras"), 20, 4.0, (64, 64), 4)


def values(**changes: object) -> list[object]:
    given: dict[str, object] = {
        "prompt": PROMPT,
        "negative": "",
        "steps": 20,
        "cfg": 4,
        "sampler": "Euler",
        "width": 64,
        "height": 64,
        "seed": 5,
        "pictures": 1,
        **{one.name: one.default for one in SETTINGS},
    }
    return list({**given, **changes}.values())


def test_values_of_the_page_become_a_job() -> None:
    made = job_of(values(top_k=2, enabled=True), FACTS)
    assert made.settings == Settings(enabled=True, top_k=2)
    assert (made.prompt, made.steps, made.seed) == (PROMPT, 20, 5)
    assert 0 <= job_of(values(seed=-1), FACTS).seed < 2**32


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"prompt": None}, "Prompt is None"),
        ({"prompt": "<lora:star:x>"}, "cannot be used"),
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
        ({"seed": 2**60}, "Seed is"),
        ({"pictures": 17}, "1 to 16"),
        ({"temperature": 0}, "temperature is 0"),
        ({"start": 0.9, "end": 0.1}, "start not above end"),
    ],
)
def test_wrong_values_are_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        job_of(values(**changes), FACTS)


def test_too_few_values_are_named() -> None:
    with pytest.raises(ValueError, match="load the page again"):
        job_of([1, 2], FACTS)


def test_a_pasted_infotext_of_this_page() -> None:
    text = (
        "a star\nof two lines <lora:star:1>\nNegative prompt: dark, ugly\nSteps: 12, CFG scale: 5.5, "
        "Seed: 9, Size: 64x72, Sampler: DPM++ 2M Karras, LoRAtorio enabled: True, LoRAtorio top k: 2"
    )
    found = read_pasted(text, FACTS, Words())
    assert found.values == {
        "prompt": "a star\nof two lines <lora:star:1>",
        "negative": "dark, ugly",
        "steps": 12,
        "cfg": 5.5,
        "sampler": "DPM++ 2M Karras",
        "width": 64,
        "height": 72,
        "seed": 9,
    }
    assert found.left_out == ()
    assert found.fields["LoRAtorio top k"] == "2"


def test_a_pasted_infotext_of_a_webui() -> None:
    found = read_pasted("x\nSteps: 12, Sampler: DPM++ 2M, Schedule type: Karras, Seed: 1", FACTS, Words())
    assert (found.values["sampler"], found.values["cfg"], found.left_out) == ("DPM++ 2M Karras", None, ())
    found = read_pasted("x\nSteps: 999, Sampler: Restart, CFG scale: 1e9, Size: 9999x1", FACTS, Words())
    assert found.left_out == ("Steps", "CFG scale", "Sampler", "Size")


@pytest.mark.parametrize("text", ["", "a cat", "Steps", "x" * 200_000, "\n\n"])
def test_what_is_no_infotext_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="infotext"):
        read_pasted(text, FACTS, Words())


def test_tags_come_and_go() -> None:
    assert with_tag_toggled("", "star") == "<lora:star:1>"
    assert with_tag_toggled("a star", "star") == "a star <lora:star:1>"
    assert (
        with_tag_toggled("a star <lora:star:0.5:te=1> b <lora:stars:1>", "star") == "a star b <lora:stars:1>"
    )
    assert with_tag_toggled("<lora:a(b:1>", "a(b") == ""
    assert names_like(["Moon light", "moon", "star"], "MOON li") == ["Moon light"]
