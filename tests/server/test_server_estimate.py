"""What a prompt is said to cost: as the run counts it, for any prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from safetensors.torch import save_file

from loratorio_ext.networks.files import NetworkFolder
from loratorio_ext.server.estimate import LONGEST_PROMPT, PlannedSampling, cost_line, estimate
from loratorio_ext.server.words import Words
from loratorio_ext.settings import Settings

KNOWN = {
    "anna": "people/anna",
    "bert": "people/bert",
    "Bert the Great": "people/bert",
    **{f"style{number}": f"styles/style{number}" for number in range(9)},
}
WORDS = Words()
PIECES = ("<lora:", "anna", ":1", ":compose=off", ">", "<lora:bert:0.5>", "nobody", ":nan", " AND ", "\n")
ONE, TWO = "<lora:anna:1>", "<lora:anna:1> <lora:bert:1>"


def of(prompt: str, sampling: PlannedSampling | None = None, **changes: Any) -> Any:
    chosen = Settings(**{"enabled": True, "looks": 0, **changes})
    return estimate(prompt, chosen, KNOWN, sampling or PlannedSampling(), WORDS)


@settings(max_examples=150, deadline=None)
@given(
    prompt=st.text(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=12).map("".join),
    changes=st.fixed_dictionaries(
        {
            "pool": st.sampled_from(["", "*", "people/*", "anna, nobody", "styles/*"]),
            "top_k": st.integers(0, 4),
            "rescan": st.integers(1, 4),
            "reuse": st.integers(1, 4),
            "enabled": st.booleans(),
        }
    ),
    window=st.sampled_from([(0.0, 1.0), (0.3, 0.8), (1.0, 1.0)]),
    sampling=st.builds(PlannedSampling, st.integers(1, 30), st.booleans(), st.booleans(), st.booleans()),
)
def test_any_prompt(
    prompt: str, changes: dict[str, Any], window: tuple[float, float], sampling: PlannedSampling
) -> None:
    chosen = Settings(**changes, start=window[0], end=window[1])
    found = estimate(prompt, chosen, KNOWN, sampling, WORDS)
    assert len(found.rows) == sampling.steps and found.plain_rows >= 1 + sampling.guided
    assert all(rows >= 1 for rows in found.rows)
    assert 0 <= found.of_pool <= len(found.composed)
    paths = [KNOWN[name] for name in found.composed[len(found.composed) - found.of_pool :]]
    assert len(paths) == len(set(paths))  # each network of the pool once, whatever its names
    if not chosen.enabled:
        assert found.ratio == 1.0
    if not sampling.splits_at_and:
        assert found.plain_rows == 1 + sampling.guided
    assert len(found.notes) < 60
    assert cost_line(found, WORDS).endswith("×")
    assert found.to_dict()["ratio"] == found.ratio


# Rows of real generations, of the base and of two networks; tests/webuis has them of every WebUI.
@pytest.mark.parametrize(
    ("changes", "guided", "rows"),
    [
        ({"recenter": 1.0}, True, (4, 4, 4, 4)),
        ({"recenter": 0.5}, True, (6, 6, 6, 6)),
        ({"recenter": 0.5}, False, (3, 3, 3, 3)),
        ({"recenter": 0.0, "top_k": 1, "rescan": 3}, True, (6, 4, 4, 6)),
        ({"recenter": 1.0, "reuse": 2}, True, (4, 2, 4, 2)),
        ({"recenter": 1.0, "end": 0.5}, True, (4, 4, 2, 2)),
        ({"recenter": 1.0, "looks": 2}, True, (4, 4, 2, 2)),
        ({"recenter": 0.5, "looks": 1}, True, (6, 2, 2, 2)),
        ({"recenter": 0.5, "looks": 1}, False, (3, 1, 1, 1)),
    ],
)
def test_rows_for_each_picture(changes: dict[str, Any], guided: bool, rows: tuple[int, ...]) -> None:
    found = of("<lora:anna:1> <lora:bert:1>", PlannedSampling(4, guided), **changes)
    assert (found.rows, found.plain_rows) == (rows, 1 + guided)
    assert found.ratio == pytest.approx(sum(rows) / (4 * (1 + guided)))


@pytest.mark.parametrize(
    ("changes", "rows", "ratio"),
    [
        # A hires step is of 4 times the size: (6 + 2 + 2 + 2 + 4 · (2 + 2)) / (2 · (4 + 4 · 2)).
        ({"recenter": 0.5, "looks": 1}, (6, 2, 2, 2, 2, 2), 28 / 24),
        ({"recenter": 1.0, "looks": 0}, (4, 4, 4, 4, 4, 4), 2.0),
        ({"recenter": 1.0, "looks": 0, "end": 0.5}, (4, 4, 2, 2, 4, 2), (12 + 24) / 24),
        ({"enabled": False}, (2,) * 6, 1.0),
    ],
)
def test_a_hires_pass_counts_with_its_size(
    changes: dict[str, Any], rows: tuple[int, ...], ratio: float
) -> None:
    found = of("<lora:anna:1> <lora:bert:1>", PlannedSampling(4, hires_steps=2, hires_scale=2.0), **changes)
    assert (found.rows, found.plain_rows) == (rows, 2)
    assert found.ratio == pytest.approx(ratio)
    assert cost_line(found, WORDS).endswith(f"about {ratio:.1f} ×, with the 2 steps of Hires. fix")


def test_a_hires_pass_looks_where_other_networks_act_than_at_the_end_of_the_first() -> None:
    planned = PlannedSampling(4, hires_steps=4, hires_scale=2.0)
    assert of("<lora:anna:1> <lora:bert:1:steps=0-0.5>", planned, looks=1).rows == (4, 2, 2, 2) * 2


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a cat", 1),
        ("a AND b", 2),
        ("a\nAND\nb :0.5 AND c:2", 3),
        ("AND", 2),
        ("a ANDb SAND and And", 1),
        ("a,AND(b)", 2),
        ("<hypernet:this AND that:1>", 1),
    ],
)
def test_parts_at_and(text: str, parts: int) -> None:
    prompt = f"{text} <lora:anna:1> <lora:bert:1>"
    apart = of(prompt, PlannedSampling(splits_at_and=True), recenter=0.5)
    assert apart.plain_rows == parts + 1 and set(apart.rows) == {3 * (parts + 1)}
    together = of(prompt, PlannedSampling(), recenter=0.5)
    assert together.plain_rows == 2 and set(together.rows) == {6}


def test_many_names_that_are_not_there_are_counted() -> None:
    prompt = "".join(f"<lora:no{number}:1>" for number in range(6000))
    notes = of(prompt, pool=",".join(f"x{number}" for number in range(40))).notes
    assert len(notes) < 30 and max(map(len, notes)) < 200
    assert "'no0' is not among" in notes[0] and "and 5990 more of this kind" in notes
    assert "and 30 more of this kind" in notes
    eleven = "".join(f"<lora:no{number}:1>" for number in range(11)) + "<lora:anna:1>"
    assert len(of(eleven).notes) == 11 and "no10" in of(eleven).notes[-1]


def test_merged_steps_on_top_of_the_base_s() -> None:
    prompt = "<lora:anna:1> <lora:bert:1>"
    apart = of(prompt, PlannedSampling(steps=4), start=0.5)
    on_top = of(prompt, PlannedSampling(steps=4, merged_on_top=True), start=0.5)
    assert [b - a for a, b in zip(apart.rows, on_top.rows, strict=True)] == [2, 2, 0, 0]


def test_tags_and_pool() -> None:
    found = of("<lora:Bert the Great:1> <lora:style1:1:compose=off> <lora:nobody:1>", pool="*, nowhere")
    assert found.composed[0] == "Bert the Great" and found.kept == ("style1",)
    assert "bert" not in found.composed and "style1" not in found.composed
    assert found.of_pool == 9 and len(found.composed) == 10
    assert [text for text in found.notes if "'nobody' is not among the networks" in text]
    assert [text for text in found.notes if "'nowhere' in the pool matches no network" in text]


@pytest.fixture
def folder(tmp_path: Path) -> NetworkFolder:
    (tmp_path / "sub").mkdir()
    for path, alias in (("star", "Bright"), ("sub/moon", "")):
        save_file({"x": torch.ones(1)}, tmp_path / f"{path}.safetensors", {"ss_output_name": alias})
    return NetworkFolder(tmp_path)


@pytest.mark.parametrize(
    "name", ["star", "STAR", "star.safetensors", "Bright", "bright", "moon", "sub/Moon", "sub\\moon"]
)
def test_a_network_that_the_folder_finds_is_among_them(name: str, folder: NetworkFolder) -> None:
    found = estimate(f"<lora:{name}:1>", Settings(enabled=True), folder, PlannedSampling(), WORDS)
    assert (found.composed, found.notes) == ((name,), ())
    assert folder.find(name).is_file()
    found = estimate(f"<lora:{name}:1>", Settings(enabled=True, pool="*"), folder, PlannedSampling(), WORDS)
    assert len(found.composed) == 2 and found.of_pool == 1


def test_two_names_of_one_file_are_one_network_as_in_the_picture(folder: NetworkFolder) -> None:
    prompt = "<lora:star:1> <lora:moon:1> <lora:BRIGHT:0.5> <lora:nobody:1>"
    found = estimate(prompt, Settings(enabled=True), folder, PlannedSampling(), WORDS)
    assert found.composed == ("BRIGHT", "moon")
    assert found.notes == (
        "'star' and 'BRIGHT' are the same network; the last tag counts",
        "'nobody' is not among the networks, so it takes no part",
    )


@pytest.mark.parametrize(
    ("prompt", "changes", "note"),
    [
        ("a cat", {}, "there is no network to compose"),
        ("<lora:anna:1>", {"start": 1.0}, "no step lies between Start and End"),
        ("a cat", {"pool": "*"}, "all 11 networks of the pool speak at once"),
        ("<lora:anna:1> <lora:bert:1>", {"rescan": 3}, "Rescan every has no effect here"),
        ("<lora:anna:1> <lora:bert:1>", {"reuse": 3, "looks": 2}, "have no effect here: Looks is not 0"),
        ("x" * LONGEST_PROMPT + " <lora:anna:1>", {}, f"only the first {LONGEST_PROMPT} characters"),
    ],
)
def test_what_will_not_be_as_thought_is_said(prompt: str, changes: dict[str, Any], note: str) -> None:
    assert [text for text in of(prompt, **changes).notes if note in text]
    assert of("<lora:anna:1>").notes == ()


@pytest.mark.parametrize(
    ("prompt", "changes", "line"),
    [
        (ONE, {"looks": 4}, "1 network composed: 2 predictions a step, about 1.0 ×"),
        (ONE, {"recenter": 0.5}, "1 network composed: 4 predictions a step instead of 2, about 2.0 ×"),
        ("<lora:anna:1> <lora:bert:1:compose=off>", {"recenter": 0.5}, "1 network composed, 1 kept merged: "),
        (ONE, {"pool": "bert"}, "2 networks composed (1 from the pool): "),
        (TWO, {"reuse": 2}, "4 predictions at 10 of 20 steps and 2 at the others, instead of 2"),
        (TWO, {"looks": 4}, "4 predictions at 4 of 20 steps and 2 at the others, instead of 2"),
        (
            TWO,
            {"recenter": 0.5, "top_k": 1, "rescan": 2, "end": 0.5},
            ": 2 to 6 predictions a step instead of 2, ",
        ),
    ],
)
def test_the_cost_in_a_sentence(prompt: str, changes: dict[str, Any], line: str) -> None:
    assert line in cost_line(of(prompt, **changes), WORDS)


def test_networks_for_the_unconditional_cost_nothing_and_are_told_where_there_is_none() -> None:
    alone, beside = of("<lora:anna:1:cond=0>"), of(f"{TWO} <lora:style1:1:cond=0>")
    assert (alone.composed, alone.kept, alone.ratio, alone.notes) == ((), ("anna",), 1.0, ())
    assert beside.rows == of(TWO).rows and beside.notes == ()
    (note,) = of("<lora:anna:1:cond=0>", PlannedSampling(guided=False)).notes
    assert note == "there is no unconditional prediction for 'anna' to act in"
    (note,) = of("<lora:anna:1:cond=0>", enabled=False).notes
    assert note == "without LoRAtorio, 'anna' acts on both sides of the guidance"


@pytest.mark.parametrize(
    ("prompt", "said"),
    [("a (star:1.3)", True), ("a [x]", True), ("a AND b", True), ("a (star) of :3", False)],
)
def test_weights_that_are_read_as_text_are_said_where_they_are(
    prompt: str, said: bool, tmp_path: Path
) -> None:
    chosen = Settings(enabled=True)
    notes = [
        estimate(f"{prompt} {ONE}", chosen, known, PlannedSampling(), WORDS).notes
        for known in (NetworkFolder(tmp_path), KNOWN)
    ]
    assert [any("read as plain text here" in one for one in found) for found in notes] == [said, False]
