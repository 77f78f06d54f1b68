"""The JSON Schema says the same as the settings' own checks."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from loratorio_ext.server.presets import OURS
from loratorio_ext.setting import Setting
from loratorio_ext.settings import SETTINGS, Settings, settings_schema

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
VALIDATOR = jsonschema.Draft202012Validator(settings_schema())
LETTERS = st.characters(exclude_categories=["C", "Z"]) | st.sampled_from(' "\n\t\x85\xa0\u2028\u3000\0')


def test_every_setting_is_there() -> None:
    schema: dict[str, Any] = settings_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert json.loads(json.dumps(schema)) == schema
    assert list(schema["properties"]) == [one.name for one in SETTINGS]
    assert schema["additionalProperties"] is False
    for setting in SETTINGS:
        one = schema["properties"][setting.name]
        assert (one["title"], one["description"]) == (setting.label, setting.help)
        assert one["default"] == setting.unnamed and type(one["default"]) is setting.type
        assert one["type"] == {bool: "boolean", int: "integer", float: "number", str: "string"}[setting.type]
        assert one.get("enum", []) == list(setting.choices)
        if setting.type in (int, float):
            assert (one["minimum"], one["maximum"]) == (setting.minimum, setting.maximum)


def accepted(values: dict[str, Any]) -> bool:
    try:
        Settings.from_dict(values)
    except ValueError as error:
        # What a JSON Schema cannot say.
        return str(error).startswith("start is") and "and end is" in str(error)
    return True


def near(setting: Setting) -> st.SearchStrategy[Any]:
    """Values at and about the borders."""
    low, high = setting.minimum, setting.maximum
    if setting.type is bool:
        return st.booleans()
    if setting.type is str:
        return st.sampled_from([*setting.choices, "x"]) | st.text(LETTERS, max_size=6)
    assert low is not None and high is not None
    borders = [low, high, low - 1, high + 1, low + 0.5, int(low), int(high), float(high)]
    return st.sampled_from(borders) | st.floats(low, high) | st.integers(int(low) - 2, int(high) + 2)


ANY: Any = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(LETTERS) | st.just([])
)


@st.composite
def some_values(draw: Any) -> dict[str, Any]:
    chosen = draw(st.lists(st.sampled_from(SETTINGS), unique_by=lambda one: one.name, max_size=4))
    values = {
        one.name: draw(near(one) | ANY if draw(st.integers(0, 4)) == 0 else near(one)) for one in chosen
    }
    return {**values, "x": 1} if draw(st.integers(0, 20)) == 0 else values


@settings(max_examples=800, deadline=None)
@given(values=some_values())
def test_both_accept_the_same(values: dict[str, Any]) -> None:
    assert VALIDATOR.is_valid(values) == accepted(values)


@pytest.mark.parametrize("values", [[], [1], None, 1, "", "x", True, math.nan])
def test_only_objects(values: Any) -> None:
    assert not VALIDATOR.is_valid(values)
    with pytest.raises(ValueError, match="settings are"):
        Settings.from_dict(values)


@pytest.mark.parametrize(
    ("text", "good"),
    [("", True), ("a", True), ("a b", True), (" a", False), ("a ", False), (" ", False), ("a\n", False)]
    + [("\n", False), ('"', False), ("a" * 2000, True), ("a" * 2001, False), ("ünïcode ✓, */x", True)],
)
def test_texts_of_the_pool(text: str, good: bool) -> None:
    assert VALIDATOR.is_valid({"pool": text}) is accepted({"pool": text}) is good


@given(text=st.text())
def test_the_schema_refuses_no_text_that_can_be_used(text: str) -> None:
    assert VALIDATOR.is_valid({"pool": text}) or not accepted({"pool": text})


def test_presets_fit() -> None:
    for preset in OURS.values():
        VALIDATOR.validate(dict(preset))
