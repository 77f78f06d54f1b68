"""The X/Y/Z plot with our axes, in the stand-in."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

FILE = Path(__file__).parent / "standins" / "common" / "scripts" / "xyz_grid.py"
PROMPT = "a <lora:lin:1> <lora:locon:1>"


@pytest.fixture
def plot(webui: Any) -> ModuleType:
    """Loaded and listed as the WebUI does it, then the WebUI's callback before its page is built."""
    module: ModuleType = webui.load(FILE.name, FILE)
    webui.scripts.scripts_data.append(
        webui.scripts.ScriptClassData(module.Script, str(FILE), str(FILE.parent), module)
    )
    for callback in webui.script_callbacks.before_ui_callbacks * 2:
        callback()
    return module


def test_the_axes_are_there_once(plot: ModuleType) -> None:
    labels = [one.label for one in plot.axis_options]
    assert labels[:2] == ["Nothing", "Steps"] and len(set(labels)) == len(labels)
    assert "[LoRAtorio] Temperature" in labels


def test_each_picture_has_its_own_settings(webui: Any, plot: ModuleType, draw: Any) -> None:
    p = webui.new_p(PROMPT)
    cells = plot.Script().run(p, ("[LoRAtorio] Patch size", ["1", "4"]), ("[LoRAtorio] Gain", ["0", "1"]))
    wanted = [{"patch_size": size, "gain": gain} for size in (1, 4) for gain in (0.0, 1.0)]
    for (latents, _), named in zip(cells, wanted, strict=True):
        assert torch.equal(latents, draw(PROMPT, named)[0])
    assert not torch.equal(cells[0][0], cells[1][0])
    assert not hasattr(p, "loratorio_xyz")


def test_the_infotext_says_the_settings_used(webui: Any, plot: ModuleType) -> None:
    (_, last), *_ = reversed(plot.Script().run(webui.new_p(PROMPT), ("[LoRAtorio] Patch size", ["1", "4"])))
    written = last.extra_generation_params
    assert (written["LoRAtorio enabled"], written["LoRAtorio patch size"]) == ("True", "4")


def test_off_and_on_beside_each_other(webui: Any, plot: ModuleType, draw: Any) -> None:
    cells = plot.Script().run(
        webui.new_p(PROMPT, {"patch_size": 3}), ("[LoRAtorio] Enabled", ["True", "False"])
    )
    assert torch.equal(cells[0][0], draw(PROMPT, {"patch_size": 3})[0])
    assert torch.equal(cells[1][0], draw(PROMPT)[0])
    assert not any(key.startswith("LoRAtorio") for key in cells[1][1].extra_generation_params)


def test_a_wrong_value_stops_before_the_first_picture(webui: Any, plot: ModuleType) -> None:
    calls = len(webui.called.calls)
    with pytest.raises(ValueError, match="patch_size is 99"):
        plot.Script().run(webui.new_p(PROMPT), ("[LoRAtorio] Patch size", ["1", "99"]))
    assert len(webui.called.calls) == calls


def test_values_that_do_not_go_together_are_said(webui: Any, plot: ModuleType, draw: Any) -> None:
    (latents, p), *_ = plot.Script().run(webui.new_p(PROMPT, {"end": 0.5}), ("[LoRAtorio] Start", ["0.8"]))
    assert torch.equal(latents, draw(PROMPT)[0])
    assert any("start is 0.8 and end is 0.5" in text for text in p.comments)
