"""The settings' options come from the settings' own list."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest
from hypothesis import given, settings, strategies as st

from loratorio_ext.cli import option_types
from loratorio_ext.cli.main import parser
from loratorio_ext.settings import Setting, Settings

OPTIONS = option_types.COMPOSITION


def parsed(*arguments: str) -> Settings:
    return option_types.settings_from(parser().parse_args(["generate", "a star", *arguments]))


def test_without_options_the_defaults_count() -> None:
    assert parsed() == Settings(enabled=True)


@pytest.mark.parametrize("setting", OPTIONS, ids=lambda setting: str(setting.name))
def test_every_setting_is_an_option_with_its_help(setting: Setting) -> None:
    action = next(
        action
        for action in parser()._subparsers._group_actions[0].choices["generate"]._actions  # type: ignore[union-attr,index,call-overload]
        if action.dest == setting.name
    )
    assert action.option_strings == ["--" + setting.name.replace("_", "-")]
    assert setting.help in action.help.replace("%%", "%")
    assert str(setting.default) in action.help


def values(setting: Setting) -> st.SearchStrategy[object]:
    if setting.choices:
        return st.sampled_from(setting.choices)
    if setting.type is str:
        return st.sampled_from(["", "characters/*, night", "été", "a:b"])
    assert setting.minimum is not None and setting.maximum is not None
    if setting.type is int:
        return st.integers(int(setting.minimum), int(setting.maximum))
    return st.floats(setting.minimum, setting.maximum)


@given(data=st.data(), setting=st.sampled_from([s for s in OPTIONS if s.name not in {"start", "end"}]))
@settings(max_examples=60, deadline=None)
def test_every_allowed_value_arrives(data: st.DataObject, setting: Setting) -> None:
    value = data.draw(values(setting))
    assert getattr(parsed(f"--{setting.name.replace('_', '-')}", str(value)), setting.name) == value


@pytest.mark.parametrize("kind", [option_types.whole, option_types.number])
@given(text=st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_text_is_a_number_in_range_or_refused(kind: Callable[[int, int, str], float], text: str) -> None:
    try:
        assert 1 <= kind(1, 1000, text) <= 1000
    except argparse.ArgumentTypeError as error:
        assert "1000" in str(error)
