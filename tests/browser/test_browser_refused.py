"""Values that cannot be used end a run of the page before it begins; the next run is none the worse."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

STATUS = "#loratorio_page_status"
PLACE_OF_WIDTH = 6
pytestmark = pytest.mark.parametrize("gradio", ["4.40.0", "newest"])


@pytest.fixture
def page(open_toy: Callable[[], Any]) -> Any:
    return open_toy()


def set_width(page: Any, value: str) -> None:
    box = page.locator("#loratorio_page_width input[type=number]")
    box.fill(value)
    box.press("Tab")


def send_no_number(route: Any) -> None:
    """A width that gradio refuses before it calls us; its page would not send one."""
    sent = json.loads(route.request.post_data)
    sent["data"][PLACE_OF_WIDTH] = "wide"
    route.continue_(post_data=json.dumps(sent))


def draws(page: Any) -> None:
    page.locator("#loratorio_page_generate").click()
    page.locator(STATUS).get_by_text("1 picture in").wait_for()
    assert page.locator("#loratorio_page_stop").is_disabled()


def test_a_size_that_cannot_be_is_said_with_what_can(page: Any) -> None:
    set_width(page, "5000")
    page.locator("#loratorio_page_generate").click()
    alert = page.locator(STATUS).get_by_role("alert")
    alert.get_by_text("Width is 5000; give a whole number from 8 to 2048").wait_for()
    assert page.locator("#loratorio_page_stop").is_disabled()
    set_width(page, "64")
    draws(page)


def test_a_run_that_gradio_refuses_is_over(page: Any) -> None:
    page.route("**/queue/join*", send_no_number)
    page.locator("#loratorio_page_generate").click()
    alert = page.locator(STATUS).get_by_role("alert")
    alert.get_by_text("Nothing was drawn: a value was refused").wait_for()
    assert page.locator("#loratorio_page_stop").is_disabled()
    page.unroute("**/queue/join*")
    draws(page)
