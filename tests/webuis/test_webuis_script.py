"""What the script adds to a WebUI beside its panel: the inspector, the settings page, the API's routes."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest

from loratorio_ext.server.options import OPTIONS, option_key


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


def test_routes_stand_beside_the_webui_s_api(webui: Any) -> None:
    assert webui.start_app(api=False).get("/loratorio/v1/version").status_code == 404
    answer = webui.start_app(api=True).get("/loratorio/v1/version")
    assert answer.status_code == 200
    assert answer.json()["host"] == webui.server.host


def test_routes_ask_for_the_webui_s_password(webui: Any) -> None:
    client = webui.start_app(api=True, api_auth="me:secret")
    assert client.get("/loratorio/v1/version").status_code == 401
    assert client.get("/loratorio/v1/version", auth=("me", "wrong")).status_code == 401
    assert client.get("/loratorio/v1/version", auth=("me", "secret")).status_code == 200


def test_with_a_password_that_cannot_be_read_nothing_is_opened(webui: Any) -> None:
    with pytest.raises(ValueError):
        webui.start_app(api=True, api_auth="without a colon")


def test_both_tabs_have_the_same_server(webui: Any) -> None:
    one, other = webui.new_script(), webui.new_script()
    assert one.server is other.server is webui.server
