"""The page without a WebUI, with the oldest gradio that it takes and a painter of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

STATUS = "#loratorio_page_status"
INFOTEXT = "#loratorio_page_infotext textarea"


@pytest.mark.parametrize("gradio", ["4.40.0"])
def test_draw_stop_and_paste(open_toy: Callable[[], Any], look: SimpleNamespace) -> None:
    page = open_toy()
    generate, status = page.locator("#loratorio_page_generate"), page.locator(STATUS)
    look.write(page, "txt2img", "a cat <lora:cat:1> <lora:night:1>", "2 networks composed")
    seed = page.locator("#loratorio_page_seed input[type=number]")
    seed.fill("5")
    seed.press("Tab")
    generate.click()
    status.get_by_text("step").first.wait_for()
    status.get_by_text("1 picture in").wait_for()
    text = page.locator(INFOTEXT).input_value()
    assert "Seed: 5" in text and "LoRAtorio enabled: True" in text
    image = page.locator("#loratorio_page_gallery img").first
    drawn = page.request.get(image.evaluate("one => one.src")).body()
    assert b"parameters" in drawn

    steps = page.locator("#loratorio_page_steps input[type=number]")
    steps.fill("150")
    steps.press("Tab")
    generate.click()
    status.get_by_text(re.compile("step [1-9]")).first.wait_for()
    page.locator("#loratorio_page_stop").click()
    status.get_by_text("Stopped in picture 1 of 1").wait_for()
    assert page.locator(INFOTEXT).input_value() == text

    page.get_by_text("Paste infotext").click()
    page.locator("#loratorio_page_paste textarea").fill(text)
    page.locator("#loratorio_page_fill").click()
    page.locator("#loratorio_page_paste_status").get_by_text("All controls are filled in").wait_for()
    assert steps.input_value() == "10"
    generate.click()
    status.get_by_text("1 picture in").wait_for()
    assert page.locator(INFOTEXT).input_value() == text
    assert look.pictures(page, "page-gradio-4.40.0") == {}
    assert look.repeated_ids(page) == []
    assert look.nameless(page) == []
    assert look.pale(page) == []
