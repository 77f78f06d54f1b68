"""What the script adds to a WebUI beside its panel: the inspector, the settings page, the API's routes."""

from __future__ import annotations

from typing import Any

import gradio as gr
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from loratorio_ext.server.options import OPTIONS, option_key


def callbacks(running: Any, name: str) -> list[Any]:
    found: list[Any] = getattr(running.webui.script_callbacks, f"{name}_callbacks")
    return found


def started(running: Any, **arguments: object) -> TestClient:
    """The WebUI's app after it has called its extensions."""
    for name, value in arguments.items():
        setattr(running.webui.shared.cmd_opts, name, value)
    app = FastAPI()
    for callback in callbacks(running, "app_started"):
        callback(None, app)
    return TestClient(app)


def test_the_inspector_is_a_tab(running: Any) -> None:
    (callback,) = callbacks(running, "ui_tabs")
    ((blocks, title, elem_id),) = callback()
    assert isinstance(blocks, gr.Blocks)
    assert (title, elem_id) == ("LoRAtorio", "loratorio")
    assert any(getattr(one, "elem_id", None) == "loratorio_inspector_run" for one in blocks.blocks.values())


def test_every_option_is_a_setting_and_counts_at_once(running: Any) -> None:
    (callback,) = callbacks(running, "ui_settings")
    callback()
    for option in OPTIONS:
        assert getattr(running.opts, option_key(option.name)) == option.default
    setattr(running.opts, option_key("history"), 3)
    assert running.server.options().history == 3


def test_routes_stand_beside_the_webui_s_api(running: Any) -> None:
    assert started(running, api=False).get("/loratorio/v1/version").status_code == 404
    answer = started(running, api=True).get("/loratorio/v1/version")
    assert answer.status_code == 200
    assert answer.json()["host"] == running.server.host


def test_routes_ask_for_the_webui_s_password(running: Any) -> None:
    client = started(running, api=True, api_auth="me:secret")
    assert client.get("/loratorio/v1/version").status_code == 401
    assert client.get("/loratorio/v1/version", auth=("me", "wrong")).status_code == 401
    assert client.get("/loratorio/v1/version", auth=("me", "secret")).status_code == 200


def test_with_a_password_that_cannot_be_read_nothing_is_opened(running: Any) -> None:
    with pytest.raises(ValueError):
        started(running, api=True, api_auth="without a colon")


def test_both_tabs_have_the_same_server(running: Any) -> None:
    one, other = running.webui.script.LoRAtorio(), running.webui.script.LoRAtorio()
    assert one.server is other.server is running.server
