"""The page without a WebUI, with the oldest gradio that it takes and the newest, and a painter of its own."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest

STATUS = "#loratorio_page_status"
INFOTEXT = "#loratorio_page_infotext textarea"
PLACE_OF_WIDTH = 6
every_gradio = pytest.mark.parametrize("gradio", ["4.40.0", "newest"])


@pytest.fixture
def page(toy_page: Any) -> Any:
    return toy_page


def generate(page: Any) -> None:
    page.locator("#loratorio_page_generate").click()


def drawn(page: Any) -> str:
    """Waits for the picture; its infotext."""
    page.locator(STATUS).get_by_text("1 picture in").wait_for()
    assert page.locator("#loratorio_page_stop").is_disabled()
    return str(page.locator(INFOTEXT).input_value())


def refused(page: Any, said: str) -> None:
    page.locator(STATUS).get_by_role("alert").get_by_text(said).wait_for()
    assert page.locator("#loratorio_page_stop").is_disabled()


@pytest.mark.parametrize("gradio", ["4.40.0"])
def test_draw_stop_and_paste(page: Any, look: SimpleNamespace) -> None:
    status = page.locator(STATUS)
    look.write(page, "txt2img", "a cat <lora:cat:1> <lora:night:1>", "2 networks composed")
    look.set_number(page, "seed", 5)
    generate(page)
    status.get_by_text("step").first.wait_for()
    text = drawn(page)
    assert "Seed: 5" in text and "LoRAtorio enabled: True" in text
    image = page.locator("#loratorio_page_gallery img").first
    assert b"parameters" in page.request.get(image.evaluate("one => one.src")).body()

    look.set_number(page, "steps", 150)
    generate(page)
    status.get_by_text(re.compile("step [1-9]")).first.wait_for()
    page.locator("#loratorio_page_stop").click()
    status.get_by_text("Stopped in picture 1 of 1").wait_for()
    assert page.locator(INFOTEXT).input_value() == text

    page.get_by_text("Paste infotext").click()
    page.locator("#loratorio_page_paste textarea").fill(text)
    page.locator("#loratorio_page_fill").click()
    page.locator("#loratorio_page_paste_status").get_by_text("All controls are filled in").wait_for()
    assert page.locator("#loratorio_page_steps input[type=number]").input_value() == "10"
    generate(page)
    assert drawn(page) == text
    assert look.pictures(page, "page-gradio-4.40.0") == {}
    assert look.repeated_ids(page) == []
    assert look.nameless(page) == []
    assert look.pale(page) == []


@every_gradio
def test_a_size_that_cannot_be_is_said_with_what_can(page: Any, look: SimpleNamespace) -> None:
    look.set_number(page, "width", 5000)
    generate(page)
    refused(page, "Width is 5000; give a whole number from 8 to 2048")
    look.set_number(page, "width", 64)
    generate(page)
    drawn(page)


@every_gradio
def test_a_run_that_gradio_refuses_is_over_and_the_next_is_none_the_worse(page: Any) -> None:
    def send_no_number(route: Any) -> None:
        """A width that gradio refuses before it calls us; its page would not send one."""
        sent = json.loads(route.request.post_data)
        sent["data"][PLACE_OF_WIDTH] = "wide"
        route.continue_(post_data=json.dumps(sent))

    page.route("**/queue/join*", send_no_number)
    generate(page)
    refused(page, "Nothing was drawn: a value was refused")
    page.unroute("**/queue/join*")
    generate(page)
    drawn(page)
