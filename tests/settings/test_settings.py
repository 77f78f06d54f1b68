"""Settings: declared once, checked wherever values come from, the same after every round trip."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any, get_type_hints

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from loratorio_ext.settings import INFOTEXT_PREFIX, SETTINGS, Setting, Settings, settings_from_arguments

lines = st.text(
    st.characters(exclude_categories=["C", "Z"], exclude_characters='"') | st.just(" "), max_size=40
).map(str.strip)
quick = settings(max_examples=60, deadline=None)
NO_SETTING_S_NUMBER = (math.nan, math.inf, -math.inf, -1, 10**4000, 10**5000, 1e308)
BY_NAME = {setting.name: setting for setting in SETTINGS}

OFF = Settings(looks=0, pool_by="difference")


def allowed(setting: Setting) -> st.SearchStrategy[Any]:
    if setting.type is bool:
        return st.booleans()
    if setting.type is str:
        return st.sampled_from(setting.choices) if setting.choices else lines
    low, high = setting.minimum, setting.maximum
    assert low is not None and high is not None
    return st.integers(int(low), int(high)) if setting.type is int else st.floats(low, high)


@st.composite
def some_settings(draw: Any, **fixed: Any) -> Settings:
    values = {setting.name: draw(allowed(setting)) for setting in SETTINGS}
    values["start"], values["end"] = sorted((values["start"], values["end"]))
    return Settings(**{**values, **fixed})


def test_what_there_is() -> None:
    defaults = {
        "enabled": False,
        "patch_size": 2,
        "temperature": 0.25,
        "weighting": "relative",
        "gain": 0.35,
        "top_k": 0,
        "top_k_scope": "image",
        "recenter": 1.0,
        "compare": "noise",
        "start": 0.0,
        "end": 1.0,
        "rescan": 1,
        "reuse": 1,
        "batch_rows": 0,
        "pool": "",
        "score": "history",
        "looks": 4,
        "pool_by": "words",
    }
    assert Settings().to_dict() == {setting.name: setting.default for setting in SETTINGS} == defaults
    assert [field.name for field in dataclasses.fields(Settings)] == list(BY_NAME)


def test_every_setting_is_described() -> None:
    hints = get_type_hints(Settings)
    for setting in SETTINGS:
        assert setting.check(setting.default) == setting.default
        assert setting.infotext.startswith(INFOTEXT_PREFIX) and ":" not in setting.infotext
        assert setting.label and setting.help.endswith(".")
        if setting.type in (int, float):
            assert hints[setting.name] is setting.type
            assert setting.minimum is not None and setting.maximum is not None and setting.step
            assert "Low" in setting.help and "High" in setting.help
        if setting.type is str:
            assert all(f"{choice}:" in setting.help for choice in setting.choices)
            assert getattr(hints[setting.name], "__args__", ()) == setting.choices
    for attribute in ("name", "label", "infotext"):
        assert len({getattr(setting, attribute) for setting in SETTINGS}) == len(SETTINGS)


@quick
@given(chosen=some_settings())
def test_a_dict_and_its_json_keep_everything(chosen: Settings) -> None:
    assert Settings.from_dict(chosen.to_dict()) == chosen
    assert Settings.from_dict(json.loads(json.dumps(chosen.to_dict()))) == chosen
    assert type(chosen.to_dict()["patch_size"]) is int


@quick
@given(chosen=some_settings(enabled=True))
def test_infotext_keeps_everything_of_a_run(chosen: Settings) -> None:
    assert Settings.from_infotext(chosen.to_infotext()) == chosen
    assert Settings.from_infotext(chosen.infotext_fields()) == chosen
    picture = (
        f"a cat, LoRAtorio patch size: 9\nNegative prompt: x\nSteps: 20, {chosen.to_infotext()}, Size: 8x8"
    )
    assert Settings.from_infotext(picture) == chosen


@quick
@given(setting=st.sampled_from(SETTINGS), data=st.data())
def test_every_value_can_be_written_and_read(setting: Setting, data: st.DataObject) -> None:
    value = data.draw(allowed(setting))
    assert setting.parse(f" {value} ") == value


def test_infotext_says_only_what_differs() -> None:
    assert Settings().to_infotext() == ""
    assert Settings(patch_size=5).to_infotext() == ""  # off: the picture owes nothing to these settings
    assert (
        Settings(enabled=True).to_infotext()
        == "LoRAtorio enabled: True, LoRAtorio looks: 4, LoRAtorio pool by: words"
    )
    chosen = Settings(
        enabled=True, patch_size=4, temperature=0.5, compare="denoised", looks=0, pool_by="difference"
    )
    assert chosen.infotext_fields() == {
        "LoRAtorio enabled": "True",
        "LoRAtorio patch size": "4",
        "LoRAtorio temperature": "0.5",
        "LoRAtorio compare": "denoised",
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "LoRAtorio enabled: True\nSteps: 20",
        'Steps: 20, Other: "a, LoRAtorio enabled: True, b"',
        'Steps: 20, Other: "a \\", LoRAtorio enabled: True, b"',
        "loratorio enabled: True",
    ],
)
def test_what_only_looks_like_our_infotext(text: str) -> None:
    assert Settings.from_infotext(text) == OFF


@pytest.mark.parametrize("name", [s.name for s in SETTINGS])
@pytest.mark.parametrize(
    "value",
    [None, "", "x", [], {}, b"2", "2; rm", "\0" * 9999, 1j, *NO_SETTING_S_NUMBER],
    ids=lambda value: repr(value)[:20] if not isinstance(value, int) or value < 10**9 else "huge",
)
def test_hostile_values_are_refused(name: str, value: Any) -> None:
    if name == "pool" and isinstance(value, str) and value.isprintable():
        return  # a text is no danger: it is compared with names, nothing else
    with pytest.raises(ValueError) as raised:
        Settings.from_dict({name: value})
    message = str(raised.value)
    assert message.startswith(f"{name} is ") and BY_NAME[name].allowed in message and "default" in message
    assert len(message) < 200


@pytest.mark.parametrize("name", [s.name for s in SETTINGS if s.type in (int, float)])
def test_ranges_end_where_they_say(name: str) -> None:
    setting = BY_NAME[name]
    for end, beyond in ((setting.minimum, -1), (setting.maximum, 1)):
        assert end is not None
        assert setting.check(end) == end
        outside = end + beyond if setting.type is int else math.nextafter(end, beyond * math.inf)
        with pytest.raises(ValueError, match=f"{name} is "):
            setting.check(outside)
    for value in (True, False):
        with pytest.raises(ValueError, match=f"{name} is {value}"):
            setting.check(value)


def test_numbers_as_javascript_writes_them() -> None:
    chosen = Settings.from_dict({"patch_size": 4.0, "temperature": 1})
    assert type(chosen.patch_size) is int and type(chosen.temperature) is float
    with pytest.raises(ValueError, match=r"patch_size is 2\.5; give a whole number from 1 to 64"):
        Settings.from_dict({"patch_size": 2.5})
    with pytest.raises(ValueError, match=r"enabled is 1(\.0)?; give true or false"):
        Settings.from_dict({"enabled": 1})


def test_start_after_end() -> None:
    assert Settings(start=0.5, end=0.5).start == 0.5
    with pytest.raises(ValueError, match=r"start is 0\.6 and end is 0\.5"):
        Settings(start=0.6, end=0.5)
    with pytest.raises(ValueError, match="start is"):
        dataclasses.replace(Settings(end=0.3), start=0.4)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("patchsize", "did you mean 'patch_size'"),
        ("recentre", "did you mean 'recenter'"),
        ("qqqqq", "give one of enabled"),
        (3, "give one of enabled"),
        ("x" * 10**6, "give one of enabled"),
    ],
    ids=["patchsize", "recentre", "qqqqq", "number", "long"],
)
def test_unknown_names(name: Any, hint: str) -> None:
    with pytest.raises(ValueError, match=hint) as raised:
        Settings.from_dict({name: 1})
    assert len(str(raised.value)) < 250


@pytest.mark.parametrize("key", ["LoRAtorio warnings", "LoRAtorio patchsize", "LoRAtorio ", "Model"])
def test_infotext_keys_that_are_no_setting_are_left_alone(key: str) -> None:
    chosen = Settings(enabled=True, patch_size=4)
    assert Settings.from_infotext({**chosen.infotext_fields(), key: "3"}) == chosen
    assert Settings.from_infotext(f"Steps: 2, {key}: 3, {chosen.to_infotext()}, {key}: nan") == chosen


@pytest.mark.parametrize(
    "value", ["nan", "inf", "1_0", "٣", "0x2", "", "2x2", "9" * 100_000, "1e99999", "True", "2\n3", "--2"]
)
def test_hostile_infotext_values(value: str) -> None:
    for key in ("LoRAtorio patch size", "LoRAtorio temperature"):
        with pytest.raises(ValueError, match=r"(patch_size|temperature) is "):
            Settings.from_infotext({key: value})


@quick
@given(
    text=st.text(alphabet=st.sampled_from('LoRAtori psze:,"\\\n0147.TrueFalse-'), max_size=60),
    form=st.sampled_from(["{}", "LoRAtorio patch size: {}", "LoRAtorio {}, LoRAtorio enabled: True"]),
)
def test_any_infotext_is_read_or_refused(text: str, form: str) -> None:
    try:
        assert isinstance(Settings.from_infotext(form.format(text)), Settings)
    except ValueError as refusal:
        assert " is " in str(refusal)


@pytest.mark.parametrize("line", ['"' * 500_000, '"' + '\\"' * 250_000, "a" * 500_000, ",:" * 250_000])
def test_long_infotext_is_read_in_one_pass(line: str) -> None:
    assert Settings.from_infotext(line) == OFF


def test_what_was_stored_before_there_were_looks_keeps_its_pictures() -> None:
    every_step = Settings(enabled=True, patch_size=4, looks=0, pool_by="difference")
    assert Settings.from_infotext("LoRAtorio enabled: True, LoRAtorio patch size: 4") == every_step
    assert Settings.from_dict({"enabled": True, "patch_size": 4}) == every_step
    assert settings_from_arguments([True, 4]) == settings_from_arguments([{"patch_size": 4}]) == every_step


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().top_k = 3  # type: ignore[misc]


def test_what_is_meant_where_a_setting_is_not_named_is_its_default_unless_told() -> None:
    other = Setting("steps", 20, "Steps", "", "", 1, 100)
    assert other.unnamed == other.to_schema()["default"] == 20
    assert {one.name: one.unnamed for one in SETTINGS if one.unnamed != one.default} == {
        "looks": 0,
        "pool_by": "difference",
    }


def test_numbers_of_numpy() -> None:
    chosen = Settings(top_k=np.int64(2), looks=np.int32(3), gain=np.float64(0.5), temperature=np.float32(0.5))
    assert chosen == Settings(top_k=2, looks=3, gain=0.5, temperature=0.5)
    assert (type(chosen.top_k), type(chosen.gain)) == (int, float)
    with pytest.raises(ValueError, match="top_k is"):
        Settings(top_k=np.int64(-2))
