"""The panel and the script's arguments, with gradio's real components."""

from __future__ import annotations

from types import SimpleNamespace

import gradio as gr
import pytest

from loratorio_ext.settings import SETTINGS, Settings
from loratorio_ext.ui.arguments import settings_from_arguments


def test_the_panel_has_a_control_for_every_setting(webui: SimpleNamespace) -> None:
    ids: list[str] = []
    for is_img2img in (False, True):
        script = webui.script.LoRAtorio()
        script.is_img2img = is_img2img
        with gr.Blocks():
            controls = script.ui(is_img2img)
        assert [control.value for control in controls] == [one.default for one in SETTINGS]
        for control, setting in zip(controls[1:], SETTINGS[1:], strict=True):
            assert (control.label, control.info) == (setting.label, setting.help)
            ids.append(control.elem_id)
        fields = {key: control for control, key in script.infotext_fields if isinstance(key, str)}
        assert set(fields) == {one.infotext for one in SETTINGS[1:]}
        assert script.paste_field_names == [one.infotext for one in SETTINGS]
        (switch,) = [key for _, key in script.infotext_fields if callable(key)]
        assert switch({SETTINGS[0].infotext: "True"}) is True and switch({}) is False
    assert len(set(ids)) == len(ids)
    assert webui.script.LoRAtorio().title() == "LoRAtorio"


def test_arguments_are_positions_or_one_dict() -> None:
    assert settings_from_arguments([one.default for one in SETTINGS]) == Settings()
    assert settings_from_arguments([True, 4]) == Settings(enabled=True, patch_size=4)
    assert settings_from_arguments([{"patch_size": 4}, 9, "x"]) == Settings(enabled=True, patch_size=4)
    assert settings_from_arguments([{"enabled": False}]) == settings_from_arguments([]) == Settings()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([{"patchsize": 4}], "did you mean 'patch_size'"),
        ([{"patch_size": "4"}], "patch_size is '4'"),
        ([{"patch_size": 65}], "from 1 to 64"),
        (["yes"], "enabled is 'yes'"),
        ([True, 2, 0.1, 0, "picture"], "top_k_scope is 'picture'"),
    ],
)
def test_wrong_arguments_are_named(arguments: list[object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        settings_from_arguments(arguments)
