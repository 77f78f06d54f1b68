"""A file that a kill cuts anywhere goes on: nothing lost but the line being written, nothing twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loratorio_lab.evaluate.lines import Lines
from loratorio_lab.evaluate.worlds import Answer

ABOUT = {"arms": {"merge": {"cfg": 4.0}}, "steps": 20}


def opened(path: Path, about: dict[str, Any]) -> Lines[Answer]:
    return Lines(path, about, schema="loratorio.evaluation", version=1, record=Answer)


def result(number: int) -> Answer:
    return Answer("merge", "demo", f"star held-out {number}", {"shape": "star", "color": "rød"}, 40.0, 40.0)


def test_what_was_added_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    opened(path, ABOUT).add([result(0), result(1)])
    again = opened(path, ABOUT)
    assert list(again) == [result(0), result(1)]
    assert result(1).key in again
    assert result(2).key not in again


def test_a_kill_at_any_byte_loses_at_most_the_line_being_written(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    whole_store = opened(path, ABOUT)
    ends = [path.stat().st_size]
    for number in range(3):
        whole_store.add([result(number)])
        ends.append(path.stat().st_size)
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        store = opened(path, ABOUT)
        kept = max(sum(end <= cut for end in ends) - 1, 0)
        assert list(store) == [result(number) for number in range(kept)]
        store.add(result(number) for number in range(3))
        assert path.read_bytes() == whole
        assert len(opened(path, ABOUT)) == 3


def test_nothing_counts_twice(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    store = opened(path, ABOUT)
    store.add([result(0), result(0)])
    store.add([result(0)])
    assert len(store) == 1
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines(keepends=True)[1])
    assert list(opened(path, ABOUT)) == [result(0)]


@pytest.mark.parametrize(
    ("about", "words"),
    [({**ABOUT, "steps": 30}, "another steps"), ({"arms": ABOUT["arms"]}, "another steps")],
)
def test_another_evaluation_is_not_continued(tmp_path: Path, about: dict[str, object], words: str) -> None:
    path = tmp_path / "answers.jsonl"
    opened(path, ABOUT).add([result(0)])
    before = path.read_bytes()
    with pytest.raises(ValueError, match=words):
        opened(path, about)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hello\n", "line 1 is no JSON"),
        ("hello", "line 1 is no JSON"),
        ('{"schema": "other"}\nand more', "something else than an evaluation"),
        ('{"schema": "other"}\n', "something else than an evaluation"),
        ('{"schema": "loratorio.evaluation", "version": 99}\n', "version 99"),
        ('{"schema": "loratorio.evaluation", "version": 1}\n', "does not say of what"),
    ],
)
def test_another_file_is_left_alone(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "answers.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        opened(path, ABOUT)
    assert path.read_text() == text


@pytest.mark.parametrize("line", ["{", "[]", '{"arm": "merge"}', "7"])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "answers.jsonl"
    opened(path, ABOUT).add([result(0)])
    path.write_bytes(path.read_bytes() + line.encode() + b"\n" + json.dumps({}).encode() + b"\n")
    with pytest.raises(ValueError, match="line 3"):
        opened(path, ABOUT)
