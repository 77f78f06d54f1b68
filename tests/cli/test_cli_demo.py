"""`loratorio demo`: what it writes, what the page holds, what is kept when it is interrupted."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from loratorio_ext.cli import demo as command
from loratorio_ext.cli.main import main

FAST = ("--pictures", "2", "--steps", "4", "--quiet")
VOID = frozenset({"meta", "img", "link", "br", "hr", "input"})


class Reader(HTMLParser):
    """Checks that tags close in order and gathers what they point to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.links: list[str] = []
        self.without_alt = 0
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.links += [value for name in ("src", "href", "action") if (value := given.get(name))]
        self.without_alt += tag == "img" and not given.get("alt")
        if tag not in VOID and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.fixture
def made(toys: Any, capsys: pytest.CaptureFixture[str]) -> tuple[Path, str]:
    assert main(["demo", "--out", "shown", *FAST], toys.tools) == 0
    return Path("shown"), capsys.readouterr().out


def test_all_methods_are_asked_for_the_same(toys: Any) -> None:
    assert main(["demo", "--seed", "11", *FAST], toys.tools) == 0
    warm_up, *asked = toys.host.requests
    assert (warm_up.method, warm_up.steps) == ("base", 1)
    assert [request.method for request in asked] == ["base", "merge", "switch", "loratorio", "loratorio"]
    assert [request.settings.looks for request in asked] == [4, 4, 4, 0, 4]
    kinds = {(tuple(r.prompts), r.seeds, r.steps, r.cfg, r.network_dir) for r in asked}
    assert len(kinds) == 1
    assert asked[0].seeds == (11, 12)
    assert asked[0].prompts[0].count("<lora:") == len(command.WANTED) == 3


def test_the_laboratory_shows_hard_masks_too(toys: Any) -> None:
    def masked(host: Any, request: Any, words: Any) -> Any:
        return replace(request, maps=torch.ones(len(words), 4, 4))

    assert main(["demo", *FAST], replace(toys.tools, hard_masks=masked)) == 0
    assert [request.maps is not None for request in toys.host.requests[1:]] == [False] * 3 + [True] + [
        False
    ] * 2
    methods = json.loads(Path("outputs/demo/results.json").read_text("utf-8"))["methods"]
    assert [one["method"] for one in methods][2:5] == ["switch", "hard-masks", "every-step"]


def test_the_prompt_names_a_shape_a_filling_and_an_object() -> None:
    factors = {wanted.factor for wanted in command.WANTED}
    assert {"shape", "object"} < factors
    assert factors & {"texture", "background"}
    assert all(wanted.value in command.TEXT.split() for wanted in command.WANTED)


def test_it_writes_the_page_pictures_maps_and_figures(made: tuple[Path, str]) -> None:
    folder, out = made
    names = {path.name for path in folder.iterdir()}
    methods = ("base", "merge", "switch", "every-step", "loratorio")
    assert {f"{method}-{seed}.png" for method in methods for seed in (1, 2)} <= names
    assert {
        f"{kind}-{wanted.network}-{seed}.png"
        for kind in ("weights", "steps")
        for wanted in command.WANTED
        for seed in (1, 2)
    } <= names
    assert {"index.html", "results.json", "pictures.png", "who-speaks-1.png"} <= names
    assert not [name for name in names if name.endswith(".part")]
    assert out.strip().endswith("shown/index.html")


def test_the_table_has_a_line_for_each_method(made: tuple[Path, str]) -> None:
    lines = made[1].splitlines()
    names = [line.split("  ")[0] for line in lines[:6]]
    assert names == ["method", "Base", "Merge", "Switch", "Every step", "LoRAtorio"]
    # 2 pictures, 4 steps, cond and uncond; a look: base and 3 × cond; half of the steps look.
    assert [line.removeprefix("Every ").split()[5] for line in lines[1:6]] == ["16", "16", "16", "40", "28"]


def test_results_json_holds_what_the_table_says(made: tuple[Path, str]) -> None:
    results = json.loads((made[0] / "results.json").read_text("utf-8"))
    assert results["schema"] == "loratorio.demo"
    for line, method in zip(made[1].splitlines()[1:6], results["methods"], strict=True):
        cells = line.removeprefix("Every ").split()
        assert cells[1:4] == [f"{method['found'][wanted.value]}/2" for wanted in command.WANTED]
        assert cells[4] == f"{method['found_all']}/2"
        assert int(cells[5]) == method["report"]["totals"]["rows"]
        assert len(method["report"]["steps"]) == 4
        assert len(method["scores"]) == 2


def test_the_page_is_whole_and_needs_nothing_from_elsewhere(made: tuple[Path, str]) -> None:
    text = (made[0] / "index.html").read_text("utf-8")
    reader = Reader()
    reader.feed(text)
    assert (reader.open, reader.wrong, reader.without_alt) == ([], [], 0)
    outside = [link for link in reader.links if not link.startswith("data:image/png;base64,")]
    assert outside == ["results.json"]
    assert "script" not in reader.tags
    assert not re.search(r"https?://|@import|url\(", text)
    # 5 methods x 2 pictures, and for each picture: who is strongest, 3 maps, 3 strips of all steps.
    assert reader.tags.count("img") == 10 + 2 * (1 + 3 + 3)
    assert "weights of star at steps 1, 2, 3, 4" in text
    assert "every step" in text
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text


def test_text_cannot_break_out_of_the_page(toys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "TEXT", 'a star <script>alert("x")</script> & moon')
    assert main(["demo", "--out", "shown", *FAST], toys.tools) == 0
    text = Path("shown/index.html").read_text("utf-8")
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_composition_in_a_part_of_the_steps_shows_those_steps(toys: Any) -> None:
    assert main(["demo", "--out", "shown", *FAST, "--start", "0.5"], toys.tools) == 0
    text = Path("shown/index.html").read_text("utf-8")
    assert "weights of star at steps 3, 4" in text
    assert "weights of star at steps 1" not in text
    assert main(["demo", "--out", "shown", *FAST, "--start", "1"], toys.tools) == 0
    assert "Who speaks where" not in Path("shown/index.html").read_text("utf-8")


def test_ctrl_c_keeps_the_finished_methods(toys: Any, capsys: pytest.CaptureFixture[str]) -> None:
    toys.host.fail_at, toys.host.error = (4, 2), KeyboardInterrupt()
    assert main(["demo", "--out", "shown", *FAST], toys.tools) == 130
    assert "the pictures of Base, Merge" in capsys.readouterr().err
    kept = {f"{method}-{seed}.png" for method in ("base", "merge") for seed in (1, 2)}
    assert {path.name for path in Path("shown").iterdir()} == kept
