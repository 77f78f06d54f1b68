"""Trigger words from headers and from what lies beside a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, strategies as st
from safetensors.torch import save_file

from loratorio_ext.networks.files import NO_TRIGGERS, TriggerReader, Triggers
from loratorio_ext.networks.files.triggers import MAX_LENGTH, MAX_SIDECAR, MAX_WORDS, triggers_of
from loratorio_ext.networks.pool import pool_by_words

TAGS = json.dumps(
    {"10_knight": {"knight": 9, "armor": 7, "day": 1}, "5_more": {"armor": 5, "<b>": 99, "x": 2}}
)


def write(path: Path, **metadata: str) -> Path:
    save_file({"a": torch.zeros(1)}, path, {key.replace("__", "."): one for key, one in metadata.items()})
    return path


def test_the_first_source_that_says_any_counts(tmp_path: Path) -> None:
    path = write(tmp_path / "v1.2.safetensors", modelspec__trigger_phrase="a knight", ss_tag_frequency=TAGS)
    assert triggers_of(path) == Triggers(("a knight",))
    (tmp_path / "v1.2.civitai.info").write_text('{"trainedWords": ["knight style, armor", "sword", 3, ""]}')
    assert triggers_of(path).words == ("knight style, armor", "sword")
    (tmp_path / "v1.2.json").write_text('{"activation text": "kn1ght, helmet,, kn1ght ", "notes": "x"}')
    assert triggers_of(path) == Triggers(("kn1ght", "helmet"))
    (tmp_path / "v1.2.json").write_text('{"activation text": " "}')
    assert triggers_of(path).words == ("knight style, armor", "sword")


def test_frequent_tags_are_a_guess(tmp_path: Path) -> None:
    found = triggers_of(write(tmp_path / "a.safetensors", ss_tag_frequency=TAGS))
    assert found == Triggers(("armor", "knight", "x", "day"), guessed=True) and found.meant == ()


@pytest.mark.parametrize(
    "text", ["", "[", "[]", '{"a": 1}', '{"a": {"b": "c"}}', "[" * 100_000, '{"a": {"b": 1e999}}']
)
def test_what_is_damaged_says_nothing(tmp_path: Path, text: str) -> None:
    path = write(tmp_path / "a.safetensors", ss_tag_frequency=text)
    for name in ("a.json", "a.civitai.info"):
        (tmp_path / name).write_text(text)
    assert triggers_of(path).words == triggers_of(tmp_path / "none.safetensors").words == ()
    path.write_bytes(b"x")
    assert triggers_of(path) == NO_TRIGGERS


def test_what_is_too_long_or_no_word_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.safetensors")
    words = [f"w{number}" for number in range(99)]
    described = {"trainedWords": ["<lora:b:1>", "a\x00b", "y" * (MAX_LENGTH + 1), "two\n lines", *words]}
    (tmp_path / "a.civitai.info").write_text(json.dumps(described))
    assert triggers_of(path).words == ("two lines", *words[: MAX_WORDS - 1])
    (tmp_path / "a.civitai.info").write_text(json.dumps(described) + " " * MAX_SIDECAR)
    assert triggers_of(path) == NO_TRIGGERS


def test_files_are_read_again_only_when_they_change(tmp_path: Path) -> None:
    path, reader = write(tmp_path / "a.safetensors"), TriggerReader()
    assert reader.of(path) is reader.of(str(path))
    (tmp_path / "a.json").write_text('{"activation text": "one"}')
    assert reader.of(path).words == ("one",)
    (tmp_path / "a.json").write_text('{"activation text": "two"}')
    os.utime(tmp_path / "a.json", (1, 1))
    assert reader.of(path).words == ("two",)


NAMES = ("a", "b", "c", "d")
WORDS = {"a": ("red cat",), "b": ("Dog_house", "bird"), "c": (), "d": ("e",)}


@pytest.mark.parametrize(
    ("text", "top_k", "asked"),
    [
        ("nothing of these", 0, "abcd"),
        ("concatenate, cat red", 2, "abcd"),
        ("a RED   cat here", 0, "a"),
        ("a red, cat", 1, "a"),
        ("a red cat", 2, "ac"),
        ("a bird in a red cat", 2, "ab"),
        ("a dog house", 0, "b"),
        ("e-mail", 0, "d"),
    ],
)
def test_a_pool_by_the_words_of_a_prompt(text: str, top_k: int, asked: str) -> None:
    assert "".join(pool_by_words(NAMES, text, top_k, lambda name: WORDS[name])) == asked


@given(
    st.lists(st.lists(st.text(max_size=4), max_size=3), max_size=6), st.text(max_size=20), st.integers(0, 4)
)
def test_any_words_choose_some_of_the_pool(words: list[list[str]], text: str, top_k: int) -> None:
    names = [str(number) for number in range(len(words))]
    asked = pool_by_words(names, text, top_k, lambda name: words[int(name)])
    assert set(asked) <= set(names) and len(set(asked)) == len(asked) and bool(asked) == bool(names)
