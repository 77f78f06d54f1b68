"""The panel, the script's arguments, the inspector and the settings page, with gradio's real components."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from loratorio_ext.server.options import OPTIONS, option_key
from loratorio_ext.settings import SETTINGS, Settings, settings_from_arguments


def test_the_panel_has_a_control_for_every_setting(webui: Any) -> None:
    ids: list[str] = []
    kinds: list[list[object]] = []
    for is_img2img in (False, True):
        script = webui.new_script()
        script.is_img2img = is_img2img
        with gr.Blocks():
            controls = script.ui(is_img2img)
        assert [control.value for control in controls] == [one.default for one in SETTINGS]
        for control, setting in zip(controls[1:], SETTINGS[1:], strict=True):
            assert (control.label, control.info) == (setting.label, setting.help)
            ids.append(control.elem_id)
        assert [control for control, _ in script.infotext_fields[:-1]] == controls
        kinds.append([field for _, field in script.infotext_fields[:-1]])
        # "Send to" takes a tab's fields from what it finds by equality in the other tab's.
        assert script.paste_field_names == kinds[0] == kinds[-1]
    assert len(set(ids)) == len(ids)
    assert webui.new_script().title() == "LoRAtorio"


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ({}, {"enabled": False}),
        ({"LoRAtorio patch size": "8"}, {"enabled": False}),
        ({"LoRAtorio enabled": "True"}, {}),
        ({"LoRAtorio enabled": "True", "LoRAtorio patch size": "8"}, {"patch_size": 8}),
        ({"LoRAtorio enabled": "True", "LoRAtorio patch size": "abc", "LoRAtorio recenter": "7"}, {}),
        ({"LoRAtorio enabled": "True", "LoRAtorio compare": "denoised"}, {"compare": "denoised"}),
        ({"LoRAtorio enabled": "True", "LoRAtorio looks": "3"}, {"looks": 3}),
        ({"LoRAtorio enabled": "True", "LoRAtorio looks": "5000"}, {"looks": 4}),
    ],
)
def test_a_pasted_infotext_sets_every_control(
    webui: Any, found: dict[str, str], wanted: dict[str, object]
) -> None:
    script = webui.new_script()
    script.is_img2img = False
    with gr.Blocks():
        script.ui(False)
    values = {
        one.name: field(found) for one, (_, field) in zip(SETTINGS, script.infotext_fields[:-1], strict=True)
    }
    if "LoRAtorio enabled" not in found:
        assert values == {one.name: None for one in SETTINGS} | wanted
    else:
        assert values == vars(Settings(enabled=True, looks=0, pool_by="difference")) | wanted


def test_what_the_panel_cannot_use_of_an_infotext_is_said(webui: Any) -> None:
    script = webui.new_script()
    script.is_img2img = False
    with gr.Blocks():
        script.ui(False)
    _, field = script.infotext_fields[-1]
    on = {"LoRAtorio enabled": "True", "LoRAtorio looks": "4", "Steps": "20"}
    wrong = {**on, "LoRAtorio gain": "99", "LoRAtorio <b>sparkle": "3", "LoRAtorio compare": '"><script>'}
    said = field(wrong)["value"]
    assert "gain is 99.0; give a number from 0 to" in said and "; 0.35 is set" in said
    assert "LoRAtorio &lt;b&gt;sparkle&#x27; is no setting here" in said
    assert "compare is" in said and "<script" not in said and said.count("<li>") == 3
    assert len(field({**on, **{f"LoRAtorio {one}": "1" for one in range(5000)}})["value"]) < 9000
    for found in (on, {}, {"Steps": "20"}):
        assert "<li>" not in field(found)["value"]  # and nothing of an earlier one is left


def test_arguments_are_positions_or_one_dict() -> None:
    assert settings_from_arguments([one.default for one in SETTINGS]) == Settings()
    every_step = Settings(enabled=True, patch_size=4, looks=0, pool_by="difference")
    assert settings_from_arguments([True, 4]) == every_step
    assert settings_from_arguments([{"patch_size": 4}, 9, "x"]) == every_step
    defaults = [one.default for one in SETTINGS]  # the WebUI writes a request's arguments over these
    assert settings_from_arguments([{"patch_size": 4}, *defaults[1:]]) == every_step
    unnamed = Settings(looks=0, pool_by="difference")
    assert settings_from_arguments([{"enabled": False}]) == settings_from_arguments([]) == unnamed


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([{"patchsize": 4}], "did you mean 'patch_size'"),
        ([{"patch_size": "4"}], "patch_size is '4'"),
        ([{"patch_size": 65}], "from 1 to 64"),
        (["yes"], "enabled is 'yes'"),
        ([True, 2, 0.1, 0, "picture"], "top_k_scope is 'picture'"),
        ([*(one.default for one in SETTINGS), False], f"at most {len(SETTINGS)}"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        settings_from_arguments(arguments)


def test_the_inspector_is_a_tab(webui: Any) -> None:
    (callback,) = webui.script_callbacks.ui_tabs_callbacks
    ((blocks, title, elem_id),) = callback()
    assert isinstance(blocks, gr.Blocks)
    assert (title, elem_id) == ("LoRAtorio", "loratorio")
    assert any(getattr(one, "elem_id", None) == "loratorio_inspector_run" for one in blocks.blocks.values())


def test_every_option_is_a_setting_and_counts_at_once(webui: Any) -> None:
    (callback,) = webui.script_callbacks.ui_settings_callbacks
    callback()
    for option in OPTIONS:
        assert getattr(webui.opts, option_key(option.name)) == option.default
    setattr(webui.opts, option_key("history"), 3)
    assert webui.server.options().history == 3
