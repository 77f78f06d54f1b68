"""Options from whatever a settings file holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies as st

from loratorio_ext.server.options import OPTIONS, Options, option_key

ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.lists(st.integers()),
    st.dictionaries(st.text(), st.integers()),
)
NAMES = st.sampled_from([one.name for one in OPTIONS])


@given(values=st.dictionaries(st.one_of(NAMES, st.text()), ANYTHING))
def test_any_values_give_options_within_their_ranges(values: dict[str, Any]) -> None:
    options = Options.from_values(values)
    for option in OPTIONS:
        value = getattr(options, option.name)
        assert option.check(value) == value
        given_value = values.get(option.name)
        try:
            wanted = option.check(given_value)
        except ValueError:
            wanted = option.default
        assert value == wanted


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"history": 101}, "history is 101"),
        ({"rows": -1}, "rows is -1"),
        ({"overlay": "picture"}, "overlay is 'picture'"),
        ({"network_memory": "2"}, "network_memory is '2'"),
    ],
)
def test_wrong_options_are_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Options(**values)
    assert Options.from_values(values) == Options()


@given(limit=st.integers(0, 1024), wanted=st.integers(0, 2000))
def test_the_rows_of_a_call(limit: int, wanted: int) -> None:
    """0 means as many as fit, on either side."""
    rows = Options(rows=limit).rows_of(wanted)
    allowed = [one for one in (limit, wanted) if one > 0]
    assert rows == (min(allowed) if allowed else 0)


def test_memory_in_bytes() -> None:
    options = Options(history=3, history_memory=2, network_memory=5)
    assert options.limits_of_history == (3, 2 * 2**20) and options.network_bytes == 5 * 2**20
    assert Options(network_memory=0).network_bytes == 0


def test_every_option_is_explained_and_has_a_key_of_its_own() -> None:
    keys = {option_key(one.name) for one in OPTIONS}
    assert len(keys) == len(OPTIONS) and all(key.startswith("loratorio_") for key in keys)
    assert all(one.label and one.help for one in OPTIONS)
