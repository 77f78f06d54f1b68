"""The WebUI's infotext, read back."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, strategies as st

from loratorio_ext.infotext import last_line_fields, quoted, unquoted

# As AUTOMATIC1111's WebUI 1.10 reads it (re_param_code, modules/infotext_utils.py): a key of letters, blanks,
# "-" and "/", then a value in quotes in which a backslash escapes, or anything up to a comma.
THEIRS = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
KEYS = st.from_regex(r"[A-Z][a-z \-/]{1,8}[a-z]", fullmatch=True)
VALUES = st.text(st.sampled_from("ab \",:\\\n'é0."), max_size=12).map(str.strip)


@given(st.lists(st.tuples(KEYS, VALUES), min_size=1, max_size=6, unique_by=lambda pair: pair[0]))
def test_what_the_webui_writes_is_read_back(pairs: list[tuple[str, str]]) -> None:
    # The WebUI itself cannot tell a value that has quotes around it of its own from one that it has quoted.
    pairs = [(key, value) for key, value in pairs if not value.startswith('"') or quoted(value) != value]
    line = ", ".join(f"{key}: {quoted(value)}" for key, value in pairs)
    assert last_line_fields("a prompt\n" + line) == dict(pairs)


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ('Steps: 20, Model: a"b, Seed: 3', {"Steps": "20", "Model": 'a"b', "Seed": "3"}),
        ('Model: "open, Seed: 3, Size: 4x4', {"Model": '"open', "Seed": "3", "Size": "4x4"}),
        ('Model: "a"b, Seed: 3', {"Model": '"a"b', "Seed": "3"}),
        ('X: "a, \\"b\\", c" , Seed: 3', {"X": 'a, "b", c', "Seed": "3"}),
        ("", {}),
    ],
)
def test_a_lone_quotation_mark_swallows_nothing(line: str, fields: dict[str, str]) -> None:
    assert last_line_fields(line) == fields


@given(st.text(st.sampled_from('ab:,"\\ '), max_size=40))
def test_any_line_is_read_as_the_webui_reads_it(text: str) -> None:
    theirs = {key: unquoted(value.strip()) for key, value in THEIRS.findall("Key " + text)}
    ours = last_line_fields("Key " + text)
    assert {key: ours[key] for key in theirs.keys() & ours.keys()} == {
        key: theirs[key] for key in theirs.keys() & ours.keys()
    }


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    ).filter(lambda value: isinstance(value, list | dict))
)
def test_lists_and_objects_are_one_value(value: object) -> None:
    text = json.dumps(value)
    found = last_line_fields(f"Steps: 3, Civitai resources: {text}, Size: 4x4")
    assert found == {"Steps": "3", "Civitai resources": text, "Size": "4x4"}


@pytest.mark.parametrize("value", ["[a, b]", "[1, 2", "{x", "[1] b", "[" * 50_000])
def test_what_only_begins_like_a_list_ends_at_its_comma(value: str) -> None:
    found = last_line_fields(f"X: {value}, Size: 4x4")
    assert found["Size"] == "4x4" and found["X"] == value.partition(",")[0]


def test_many_lists_that_never_end_take_one_pass() -> None:
    assert len(last_line_fields(",".join(f"k{n}:[1" for n in range(100_000)))) == 100_000
