"""The testbed's combinations, read from lists that strangers wrote."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from loratorio_ext.networks.prompt import parse_prompt
from loratorio_lab.evaluate.composlora import testbed as lists
from loratorio_lab.evaluate.composlora.testbed import Element, composlora_tasks, read_testbed
from loratorio_lab.evaluate.composlora.wording import Wording, wording

KINDS = {"character": 3, "clothing": 2, "style": 2, "background": 2, "object": 2}
ELEMENTS = tuple(
    Element(f"{kind}_{number}", kind, (f"{kind} word {number}", "hair"))
    for kind, count in KINDS.items()
    for number in range(1, count + 1)
)
TESTBED = lists.Testbed(ELEMENTS, "0" * 64)
WORDS = Wording("fine", "bad")


@pytest.mark.parametrize(("networks", "count"), [(2, 24), (3, 72), (4, 96), (5, 48)])
def test_the_counts_are_the_testbed_s(networks: int, count: int) -> None:
    every = TESTBED.combinations(networks)
    assert len(set(every)) == len(every) == count
    for chosen in every:
        categories = [element.category for element in chosen]
        assert categories[0] == "character"
        assert len(set(categories)) == networks


@pytest.mark.parametrize("networks", [0, 6])
def test_no_picture_holds_more_networks_than_categories(networks: int) -> None:
    with pytest.raises(ValueError, match=f"networks is {networks}; give 1 to 5"):
        TESTBED.combinations(networks)


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 5), st.integers(1, 120), st.integers(1, 120))
def test_more_pictures_keep_the_first_ones(networks: int, few: int, more: int) -> None:
    first = composlora_tasks(TESTBED, "anime", networks, few, "held-out", WORDS)
    longer = composlora_tasks(TESTBED, "anime", networks, few + more, "held-out", WORDS)
    assert longer[:few] == first
    assert len({task.key for task in longer}) == len(longer)
    chosen = Counter(task.networks for task in longer)
    counts = [chosen[tuple(element.id for element in one)] for one in TESTBED.combinations(networks)]
    assert max(counts) - min(counts) <= 1


def test_a_few_pictures_are_no_one_character_s() -> None:
    characters = {task.networks[0] for task in composlora_tasks(TESTBED, "anime", 3, 12, "held-out", WORDS)}
    assert len(characters) == 3


def test_a_task_says_its_networks_words_and_has_a_seed_of_its_own() -> None:
    every = [
        task
        for style in ("anime", "reality")
        for split in ("held-out", "development")
        for task in composlora_tasks(TESTBED, style, 3, None, split, WORDS)  # type: ignore[arg-type]
    ]
    assert len({task.seed for task in every}) == len(every) == 288
    for task in every:
        prompt = parse_prompt(task.prompt(0.8))
        assert [(tag.name, tag.te, tag.unet) for tag in prompt.tags] == [
            (name, 0.8, 0.8) for name in task.networks
        ]
        words = [word for one in ELEMENTS if one.id in task.networks for word in one.triggers]
        assert task.caption == ", ".join(words)
        assert prompt.text.strip() == f"fine, {task.caption}"


def test_seeds_are_the_same_everywhere() -> None:
    first = composlora_tasks(TESTBED, "anime", 5, 2, "held-out", WORDS)
    assert [(task.key, task.seed) for task in first] == [
        ("character_2+clothing_2+style_1+background_2+object_1 held-out 0", 1878548613),
        ("character_2+clothing_1+style_2+background_2+object_2 held-out 0", 1179750514),
    ]


@pytest.mark.parametrize("wrong", [(0, "held-out", "pictures is 0"), (1, "test", "split is 'test'")])
def test_tasks_that_cannot_be(wrong: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=wrong[2]):
        composlora_tasks(TESTBED, "anime", 2, wrong[0], wrong[1], WORDS)


def character(**more: Any) -> dict[str, Any]:
    return {"character": [{"id": "character_1", "trigger": ["a"], **more}]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (character(id="../secret"), "id of character 1 is '../secret'"),
        (character(id="a/b"), "at most 40 letters"),
        (character(id="a:0.5> <lora:b"), "at most 40 letters"),
        (character(id="a" * 41), "at most 40 letters"),
        (character(id=7), "id of character 1 is '7'"),
        (character(id=None), "id of character 1"),
        (character(trigger=["a <lora:other:1>"]), "trigger of character_1"),
        (character(trigger=["a\nb"]), "on one line"),
        (character(trigger=["a" * 201]), "at most 200"),
        (character(trigger=[" "]), "trigger of character_1"),
        (character(trigger=[]), "trigger of character_1"),
        (character(trigger="a"), "trigger of character_1"),
        ({**character(), "../b": [{"id": "c", "trigger": ["a"]}]}, "'../b' is no category"),
        ({**character(), "style": []}, "'style' is no category with a list"),
        ({**character(), "style": [{"id": "CHARACTER_1", "trigger": ["a"]}]}, "'character_1' is there twice"),
        ({"style": [{"id": "style_1", "trigger": ["a"]}]}, "no object with a list 'character'"),
        ([], "no object with a list"),
        ({"character": [{"id": f"a{n}", "trigger": ["a"]} for n in range(300)]}, "at most 256"),
    ],
)
def test_a_list_that_cannot_be_trusted_is_refused(content: Any, words: str, tmp_path: Path) -> None:
    file = tmp_path / "anime_lora_info.json"
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="is no list of the testbed's networks") as caught:
        read_testbed(file)
    assert words in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 200_000, b" " * 1_000_001])
def test_a_file_that_is_no_list(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "anime_lora_info.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is no list of the testbed's networks"):
        read_testbed(file)


SOURCE = """
raise SystemExit("this file is read, not run")
def get_prompt(image_style):
    if image_style == 'anime':
        prompt = "fine"
        negative_prompt = "bad"
    else:
        prompt, other = "photo", 1
        prompt = "photo"
        negative_prompt = "drawing"
    return prompt, negative_prompt
"""


@pytest.mark.parametrize(
    ("style", "given_texts", "found"),
    [
        ("anime", (None, None), ("fine", "bad")),
        ("reality", (None, None), ("photo", "drawing")),
        ("anime", ("mine", None), ("mine", "bad")),
        ("reality", (None, ""), ("photo", "")),
    ],
)
def test_prompts_are_read_and_not_run(
    style: str, given_texts: tuple[str | None, str | None], found: tuple[str, str], tmp_path: Path
) -> None:
    (tmp_path / "utils.py").write_text(SOURCE)
    assert wording(tmp_path, style, *given_texts) == Wording(*found)


def test_prompts_that_are_given_need_no_file(tmp_path: Path) -> None:
    assert wording(tmp_path, "anime", "", "bad").prompt(["a", "b"]) == "a, b"


@pytest.mark.parametrize(
    "source",
    [
        None,
        "def get_prompt(:",
        "def get_prompt(style):\n    return 'fine', 'bad'",
        SOURCE.replace('"fine"', 'open("x").read()'),
        SOURCE.replace("fine", "<lora:other:1>"),
        "x = 1",
        "(" * 5000,
        "\0",
    ],
)
def test_prompts_that_cannot_be_had(source: str | None, tmp_path: Path) -> None:
    if source is not None:
        (tmp_path / "utils.py").write_text(source)
    with pytest.raises(ValueError, match="--testbed, or give both --prefix and --negative"):
        wording(tmp_path, "anime", None, "bad")


def test_given_prompts_hold_no_tags(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--prefix is 'a <lora:b:1>'"):
        wording(tmp_path, "anime", "a <lora:b:1>", "bad")
