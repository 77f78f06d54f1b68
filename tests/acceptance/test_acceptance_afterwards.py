"""Off means off, and after any end the next plain picture is the one of before, to the bit."""

from __future__ import annotations

import threading
import time
import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

OFF = (None, {"enabled": False}, [False, 2, 0.1])
LOOKS = {"looks": 2}  # with steps between them


@pytest.mark.parametrize("off", OFF)
def test_off_changes_nothing(webui: Any, names: list[str], off: Any) -> None:
    prompt = f"a cat <lora:{names[0]}:1>"
    picture = webui.draw(prompt, off)
    assert np.array_equal(picture.pictures, webui.draw(prompt).pictures)
    assert "LoRAtorio" not in picture.infotext


def test_on_without_a_tag_changes_nothing(webui: Any) -> None:
    picture = webui.draw("a cat", {})
    assert np.array_equal(picture.pictures, webui.draw("a cat").pictures)
    assert "there is no network to compose" in picture.comments
    assert "LoRAtorio" not in picture.infotext.partition("Steps:")[2]


def test_after_a_composed_picture(webui: Any, names: list[str], plain: Any) -> None:
    with plain:
        webui.draw(f"a cat <lora:{names[0]}:1> <lora:{names[1]}:1>", LOOKS)


@pytest.mark.parametrize("how", ["interrupt", "skip"])
def test_after_an_end_by_the_user(webui: Any, names: list[str], plain: Any, how: str) -> None:
    answers: list[Any] = []
    many = 5 * webui.steps
    prompt = f"a cat <lora:{names[0]}:1> <lora:{names[1]}:1>"

    def work() -> None:
        answers.append(webui.draw(prompt, LOOKS, steps=many))

    with plain:
        thread = threading.Thread(target=work)
        thread.start()
        deadline = time.monotonic() + 300
        while webui.call("/sdapi/v1/progress?skip_current_image=true")["state"]["sampling_step"] < 3:
            assert thread.is_alive() and time.monotonic() < deadline
            time.sleep(0.02)
        webui.call(f"/sdapi/v1/{how}", {})
        thread.join(300)
        assert not thread.is_alive()
    (ended,) = answers
    assert "composing failed" not in ended.comments
    whole = webui.draw(prompt, LOOKS, steps=many)
    assert not np.array_equal(ended.pictures, whole.pictures)


def test_after_an_exception_in_the_model(
    webui: Any, names: list[str], plain: Any, refused: Callable[..., str]
) -> None:
    # A latent of 9 × 9 does not fit the skip connections of a UNet that halves it.
    odd = {"width": 72, "height": 72}
    try:
        webui.draw("a cat", **odd)
    except urllib.error.HTTPError:
        with plain:
            refused(f"a cat <lora:{names[0]}:1> <lora:{names[1]}:1>", LOOKS, **odd)
    else:
        pytest.skip("this model takes every size")


def test_an_unknown_name(webui: Any, names: list[str], plain: Any) -> None:
    with plain:
        picture = webui.draw("a cat <lora:nobody_has_this_name:1>", {})
        assert "nobody_has_this_name" in picture.comments and "no network" in picture.comments
        prompt = f"a cat <lora:nobody_has_this_name:1> <lora:{names[0]}:1>"
        picture = webui.draw(prompt, {})
        assert "nobody_has_this_name" in picture.comments
        # Forge drops all networks of a prompt in which one is unknown.
        dropped = np.array_equal(webui.draw(prompt).pictures, webui.draw("a cat").pictures)
        assert ("no network" in picture.comments) is dropped


def test_a_broken_file(webui: Any, names: list[str], plain: Any, network_folder: Path) -> None:
    broken = network_folder / "loratorio_acceptance_broken.safetensors"
    broken.write_bytes(b"\x40\x00\x00\x00\x00\x00\x00\x00{}")
    try:
        webui.call("/sdapi/v1/refresh-loras", {})
        with plain:
            webui.draw(f"a cat <lora:{broken.stem}:1>", {})
            webui.draw(f"a cat <lora:{broken.stem}:1> <lora:{names[0]}:1>", {})
    finally:
        for left in network_folder.glob(f"{broken.name}*"):  # Forge gives a broken file another name
            left.unlink()
        webui.call("/sdapi/v1/refresh-loras", {})


def test_after_five_pictures_with_different_networks(webui: Any, names: list[str], plain: Any) -> None:
    with plain:
        for place in range(5):
            one, other = names[place % len(names)], names[(place + 1) % len(names)]
            webui.draw(f"a cat <lora:{one}:1> <lora:{other}:{0.5 + place / 10}>", LOOKS)


def test_merged_after_composed_is_as_before(webui: Any, names: list[str]) -> None:
    prompt = f"a cat <lora:{names[0]}:1>"
    before = webui.draw(prompt)
    webui.draw(f"a cat <lora:{names[1]}:1>", LOOKS)
    assert np.array_equal(before.pictures, webui.draw(prompt).pictures)
