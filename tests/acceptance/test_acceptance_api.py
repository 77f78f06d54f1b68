"""What the WebUI's API answers to settings that are right and to those that are not."""

from __future__ import annotations

import io
import json
import urllib.error
from typing import Any

import numpy as np
import pytest
from PIL import Image

from loratorio_ext.settings import Settings

WRONG: dict[str, tuple[object, str]] = {
    "unknown name": ({"patchsize": 4}, "did you mean 'patch_size'"),
    "text for a number": ({"patch_size": "4"}, "patch_size is '4'"),
    "out of range": ({"patch_size": 65}, "from 1 to 64"),
    "no such choice": ({"top_k_scope": "picture"}, "top_k_scope is 'picture'"),
    "not a number": ({"temperature": None}, "temperature is None"),
    "positional": ([True, 0], "patch_size is 0"),
    "start after end": ({"start": 0.9, "end": 0.1}, "start is 0.9 and end is 0.1"),
}


def test_names_and_positions_are_the_same(webui: Any, names: list[str]) -> None:
    prompt = f"a cat <lora:{names[0]}:1> <lora:{names[1]}:1>"
    # Names without looks mean a body from before there were any; positions take the panel's default.
    named = webui.draw(prompt, {"patch_size": 4, "temperature": 0.3, "looks": Settings().looks})
    positional = webui.draw(prompt, [True, 4, 0.3])
    assert np.array_equal(named.pictures, positional.pictures)
    assert "LoRAtorio patch size: 4" in named.infotext


@pytest.mark.parametrize("case", WRONG)
def test_wrong_settings_are_refused_before_anything_is_drawn(webui: Any, names: list[str], case: str) -> None:
    settings, named = WRONG[case]
    kept = webui.call("/loratorio/v1/reports")["total"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        webui.draw(f"a cat <lora:{names[0]}:1> <lora:{names[1]}:1>", settings)
    assert refused.value.code == 422
    assert named in json.loads(refused.value.read())["detail"]
    assert webui.call("/loratorio/v1/reports")["total"] == kept


def test_a_run_is_kept_with_its_maps(webui: Any, names: list[str]) -> None:
    prompt = f"a cat <lora:{names[0]}:1> <lora:{names[1]}:1>"
    expected = webui.call("/loratorio/v1/estimate", {"prompt": prompt, "settings": {}, "steps": webui.steps})
    webui.draw(prompt, {})
    newest = webui.call("/loratorio/v1/reports?limit=1")["reports"][0]
    assert (newest["networks"], newest["pictures"], newest["finished"]) == (names[:2], 1, True)
    assert newest["ratio"] == pytest.approx(expected["ratio"])
    kept = webui.call(f"/loratorio/v1/reports/{newest['number']}")
    assert [len(one["report"]["steps"]) for one in kept["passes"]] == [webui.steps]
    for place in range(2):
        path = f"/loratorio/v1/reports/{newest['number']}/maps/0/0/{place}.png"
        assert Image.open(io.BytesIO(webui.read(path))).format == "PNG"


def test_the_script_is_listed(webui: Any) -> None:
    scripts = webui.call("/sdapi/v1/scripts")
    for tab in ("txt2img", "img2img"):
        assert "loratorio" in [name.lower() for name in scripts[tab]]
