"""What is wrong with a prompt's tags is said in one language and not in two."""

from __future__ import annotations

import pytest

from loratorio_ext.networks.problems import Problem
from loratorio_ext.networks.prompt import MAX_PROBLEMS, parse_prompt
from loratorio_ext.server.estimate import PlannedSampling, estimate
from loratorio_ext.server.words import words_in
from loratorio_ext.settings import Settings

BAD = (
    "<lora::1>",
    f"<lora:{'x' * 300}:1>",
    "<lora:a\nb:1>",
    "<lora:../a:1>",
    "<lora:a:x>",
    "<lora:a:1:x>",
    "<lora:a:dyn=0>",
    "<lora:a:te=1:te=2>",
    "<lora:a:te=1=2>",
    "<lora:a:compose=perhaps>",
    "<lora:a:1:1:4:5>",
    "<lora:a:weight=2>",
    "<lora:a> <lora:a>",
    "<LORA:a:1>",
    "<lora:a",
    "<lora:{count}:x>",
)
WORDS = words_in("de_DE")


@pytest.mark.parametrize("prompt", [*BAD, "<lora:a:x>" * (MAX_PROBLEMS + 2)])
def test_the_cost_s_notes_are_german(prompt: str) -> None:
    known = {"a": "a", "night": "night"}
    notes = estimate(
        f"<lora:night:1> {prompt}", Settings(enabled=True), known, PlannedSampling(), WORDS
    ).notes
    english = parse_prompt(prompt).problems
    assert len(notes) == len(english) > 0
    for note, said in zip(notes, english, strict=True):
        assert note != said
        # A part that no language file has would stand in both.
        parts = [part for part in said.replace(":", ";").split("; ") if " " in part and "'" not in part]
        assert [part for part in parts if part in note] == []


def test_a_problem_inside_another_is_translated_too() -> None:
    inner = Problem("inner {n}", {"n": 1})
    outer = Problem("outer {problem}", {"problem": inner})
    assert str(outer) == "outer inner 1"
    words = {"inner {n}": "innen {n}", "outer {problem}": "außen {problem}"}
    assert outer.said(lambda text, **values: words[text].format(**values)) == "außen innen 1"
    assert outer == Problem("outer {problem}", {"problem": Problem("inner {n}", {"n": 1})})
    assert hash(outer) == hash(Problem("outer {problem}"))
