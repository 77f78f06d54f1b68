"""The option that keeps the panels of txt2img and img2img alike, with the gradio of each WebUI."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

TABS = ("txt2img", "img2img")
PLACES = {"number": "input[type=number]", "text": "textarea, input", "chosen": "input:checked"}
pytestmark = pytest.mark.parametrize("gradio", ["3.41.2", "4.40.0"])


@pytest.fixture
def page(panel_page: Any) -> Any:
    return panel_page


def switch(page: Any, on: bool) -> None:
    page.evaluate("(on) => { window.opts = { loratorio_in_step: on }; }", on)


def part(tab: str, item: str, place: str) -> str:
    return f"#script_{tab}_loratorio_{item} :is({PLACES[place]})"


def write(page: Any, tab: str, item: str, text: str, place: str = "number") -> None:
    """With keys, as only what a user does is copied."""
    box = page.locator(part(tab, item, place)).first
    box.click()
    page.keyboard.press("Control+a")
    page.keyboard.type(text)
    page.keyboard.press("Tab")


def pick(page: Any, tab: str, item: str, option: str) -> None:
    page.locator(part(tab, item, "text")).first.click()
    page.get_by_role("option", name=option, exact=True).or_(
        page.locator("ul.options li", has_text=option)
    ).first.click()


def value(page: Any, tab: str, item: str, place: str = "number") -> str:
    return str(page.locator(part(tab, item, place)).first.input_value())


def wait_for(page: Any, tab: str, item: str, wanted: str, place: str = "number") -> None:
    page.wait_for_function(
        "([part, wanted]) => document.querySelector(part)?.value === wanted",
        arg=[part(tab, item, place), wanted],
    )


def all_values(page: Any, tab: str) -> list[object]:
    values: list[object] = page.evaluate(
        """(prefix) => [...document.querySelectorAll(`[id^="${prefix}"] :is(input, textarea)`)]
            .map((one) => (["radio", "checkbox"].includes(one.type) ? one.checked : one.value))""",
        f"script_{tab}_loratorio_",
    )
    return values


def test_what_is_set_by_hand_is_set_in_the_other_tab(page: Any, look: SimpleNamespace) -> None:
    switch(page, True)
    look.show(page, "txt2img", "Advanced")
    write(page, "txt2img", "top_k", "3")
    write(page, "txt2img", "temperature", "0.25")
    page.locator("#script_txt2img_loratorio_compare label", has_text="denoised").click()
    slider = page.locator("#script_txt2img_loratorio_recenter input[type=range]")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    page.locator("#script_txt2img_loratorio_enabled input").click()
    wait_for(page, "img2img", "recenter", "0.95")
    wait_for(page, "img2img", "top_k", "3")
    wait_for(page, "img2img", "temperature", "0.25")
    wait_for(page, "img2img", "compare", "denoised", "chosen")
    page.locator("#script_img2img_loratorio_enabled input:not(:checked)").wait_for(state="attached")
    page.wait_for_timeout(11_000)  # until the panels are no longer compared: nothing fails by then
    assert all_values(page, "txt2img") == all_values(page, "img2img")


def test_what_a_preset_and_the_list_of_the_pool_set_comes_too(page: Any, look: SimpleNamespace) -> None:
    switch(page, True)
    look.show(page, "txt2img", "Advanced", "Pool: networks without a tag")
    pick(page, "txt2img", "preset", "Fast")
    wait_for(page, "img2img", "looks", "1")
    pick(page, "txt2img", "pool_list", "animals/*")
    wait_for(page, "img2img", "pool", "animals/*", "text")
    page.wait_for_timeout(1000)
    assert value(page, "txt2img", "looks") == "1"
    assert value(page, "img2img", "preset", "text") == value(page, "txt2img", "preset", "text") == "Fast"
    look.show(page, "img2img", "Advanced", "Pool: networks without a tag")
    page.locator("#script_img2img_loratorio_pool_list").get_by_text("animals/*").first.wait_for()


def test_the_tab_that_is_used_last_leads_and_what_was_not_touched_stays(
    page: Any, look: SimpleNamespace
) -> None:
    switch(page, False)
    look.show(page, "img2img", "Advanced")
    write(page, "img2img", "patch_size", "7")
    write(page, "img2img", "top_k", "9")
    page.wait_for_timeout(1000)
    assert value(page, "txt2img", "patch_size") != "7"
    switch(page, True)
    look.show(page, "txt2img", "Advanced")
    write(page, "txt2img", "top_k", "2")
    wait_for(page, "img2img", "top_k", "2")
    look.show(page, "img2img")
    write(page, "img2img", "top_k", "4")
    wait_for(page, "txt2img", "top_k", "4")
    page.wait_for_timeout(2000)
    assert [value(page, tab, "top_k") for tab in TABS] == ["4", "4"]
    assert value(page, "img2img", "patch_size") == "7"
    assert value(page, "txt2img", "patch_size") != "7"
