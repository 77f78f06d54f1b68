"""Axes for the WebUI's plot, alone and in the stand-in's plot."""

from __future__ import annotations

from copy import copy
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, strategies as st

from loratorio_ext.settings import SETTINGS, Settings
from loratorio_ext.ui import xyz


class AxisOption:
    def __init__(self, label: str, kind: Any, apply: Any, format_value: Any = str, **options: Any) -> None:
        self.label, self.type, self.apply = label, kind, apply
        self.confirm, self.cost, self.choices = (options[name] for name in ("confirm", "cost", "choices"))


@pytest.fixture
def axes() -> dict[str, Any]:
    return {one.label: one for one in xyz.axes(AxisOption)}


def put(axis: Any, text: str, p: Any) -> None:
    """As the plot does: read, confirm, apply."""
    value = axis.type(text)
    axis.confirm(p, [value])
    axis.apply(p, value, [value])


def test_there_is_an_axis_for_every_setting_worth_comparing(axes: dict[str, Any]) -> None:
    assert list(axes) == [
        "[LoRAtorio] Enabled",
        *(f"[LoRAtorio] {one.label}" for one in SETTINGS[1:] if one.name != "batch_rows"),
    ]
    for setting in SETTINGS:
        if setting.name != "batch_rows":
            axis = axes[xyz.label_of(setting)]
            assert axis.type is (setting.type if setting.type in (int, float) else str)
            words = ["True", "False"] if setting.type is bool else list(setting.choices)
            assert (axis.choices() if axis.choices else []) == words


@pytest.mark.parametrize(
    "setting", [one for one in SETTINGS if one.name != "batch_rows"], ids=lambda s: s.name
)
def test_every_axis_sets_its_setting(setting: Any, axes: dict[str, Any]) -> None:
    axis = axes[xyz.label_of(setting)]
    other = {bool: not setting.default, str: "night"}.get(setting.type)
    if setting.choices:
        other = next(one for one in setting.choices if one != setting.default)
    elif other is None:
        other = setting.maximum if setting.default != setting.maximum else setting.minimum
    p = SimpleNamespace()
    put(axis, str(setting.type(other)), p)
    found = xyz.settings_with_axes(p, Settings(enabled=True) if setting.name != "enabled" else Settings())
    assert getattr(found, setting.name) == other and found.enabled
    assert found == Settings(**{"enabled": True, setting.name: other})


WRONG = {
    "Patch size": ("0", "65", "2.5", "two"),
    "Temperature": ("nan", "inf", "0"),
    "Gain": ("1.1",),
    "Weights by": ("distance", ""),
    "Enabled": ("1",),
    "Pool": ('a"b', "a" * 2001),
}


@pytest.mark.parametrize(("label", "text"), [(label, text) for label in WRONG for text in WRONG[label]])
def test_wrong_values_are_refused_before_any_picture(axes: dict[str, Any], label: str, text: str) -> None:
    axis = axes[f"[LoRAtorio] {label}"]
    with pytest.raises(ValueError):
        axis.confirm(SimpleNamespace(), [axis.type(text)])


def test_steps_of_a_range_leave_no_crumbs(axes: dict[str, Any]) -> None:
    p = SimpleNamespace()
    for value in (0.1 + 0.2, 1.0000000000000002):
        axes["[LoRAtorio] Gain"].confirm(p, [value])
        axes["[LoRAtorio] Gain"].apply(p, value, [value])
        assert xyz.settings_with_axes(p, Settings()).gain == round(value, 1)


def test_copies_do_not_share_values(axes: dict[str, Any]) -> None:
    p = SimpleNamespace()
    first = copy(p)
    put(axes["[LoRAtorio] Patch size"], "4", first)
    second = copy(first)
    put(axes["[LoRAtorio] Gain"], "0.5", second)
    put(axes["[LoRAtorio] Patch size"], "8", second)
    assert xyz.settings_with_axes(p, Settings()) == Settings()
    assert xyz.settings_with_axes(first, Settings()) == Settings(enabled=True, patch_size=4)
    assert xyz.settings_with_axes(second, Settings()) == Settings(enabled=True, patch_size=8, gain=0.5)


def test_the_axis_enabled_wins(axes: dict[str, Any]) -> None:
    p = SimpleNamespace()
    put(axes["[LoRAtorio] Enabled"], "False", p)
    put(axes["[LoRAtorio] Patch size"], "4", p)
    assert xyz.settings_with_axes(p, Settings(enabled=True)) == Settings(patch_size=4)


def test_values_that_do_not_go_together(axes: dict[str, Any]) -> None:
    p = SimpleNamespace()
    put(axes["[LoRAtorio] Start"], "0.8", p)
    with pytest.raises(ValueError, match=r"start is 0\.8 and end is 0\.5"):
        xyz.settings_with_axes(p, Settings(end=0.5))


@given(value=st.text())
def test_any_text_is_read_or_refused(value: str) -> None:
    for axis in xyz.axes(AxisOption):
        p = SimpleNamespace()
        try:
            axis.confirm(p, [value])
        except ValueError:
            continue
        axis.apply(p, value, [value])
        assert xyz.settings_with_axes(p, Settings()) != Settings() or value.strip().lower() == "false"


def test_registering_twice_adds_once() -> None:
    plot = SimpleNamespace(AxisOption=AxisOption, axis_options=[SimpleNamespace(label="Nothing")])
    xyz.register(plot)
    xyz.register(plot)
    assert [one.label for one in plot.axis_options] == ["Nothing", *(x.label for x in xyz.axes(AxisOption))]
    xyz.register(None)


@pytest.mark.parametrize("name", ["xyz_grid.py", "scripts.xyz_grid"])
def test_the_plot_is_found_by_its_file(name: str) -> None:
    def entry(module_name: str, module: Any) -> Any:
        return SimpleNamespace(script_class=type("Script", (), {"__module__": module_name}), module=module)

    plot = SimpleNamespace(axis_options=[])
    others = [entry("other.py", SimpleNamespace(axis_options=[])), entry(name, SimpleNamespace())]
    assert xyz.find_plot([]) is None
    assert xyz.find_plot(others) is None
    assert xyz.find_plot([*others, entry(name, plot)]) is plot
