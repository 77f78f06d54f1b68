"""The page without a WebUI, with the oldest gradio that it takes and the newest, and a painter of its own."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import pytest

STATUS = "#loratorio_page_status"
INFOTEXT = "#loratorio_page_infotext textarea"
PLACE_OF_SAMPLER = 6
DROP = """(bytes) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([new Uint8Array(bytes)], "a.png", { type: "image/png" }));
    document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""
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


@every_gradio
def test_by_keyboard_from_the_first_picture_to_the_page_s_second_life(
    page: Any, look: SimpleNamespace, gradio: str
) -> None:
    status, prompt = page.locator(STATUS), page.locator("#txt2img_prompt textarea")
    look.set_number(page, "seed", 5)
    look.write(page, "txt2img", "a cat <lora:cat:1> <lora:night:1>", "2 networks composed")
    page.keyboard.press("Control+ArrowDown")
    page.keyboard.press("Control+Enter")
    text = drawn(page)
    assert text.startswith("a cat <lora:cat:1> <lora:night:0.95>")
    assert "Seed: 5" in text and "LoRAtorio enabled: True" in text
    for one in ("#txt2img_prompt", "#loratorio_page_generate", "#loratorio_page_gallery"):
        place = page.locator(one).bounding_box()
        assert place["y"] + place["height"] <= 900, one
    image = page.locator("#loratorio_page_gallery img").first
    file = page.request.get(image.evaluate("one => one.src")).body()
    assert b"parameters" in file

    look.set_number(page, "steps", 150)
    look.set_number(page, "pictures", 2)
    generate(page)
    status.get_by_text(re.compile("step [1-9]")).first.wait_for()
    page.locator("#loratorio_page_stop").click()
    status.get_by_text("Stopped in picture 1 of 2").wait_for()
    assert page.locator(INFOTEXT).input_value() == text
    page.reload()
    status.get_by_text("1 picture in").wait_for()
    assert prompt.input_value() == "a cat <lora:cat:1> <lora:night:0.95>"
    assert page.locator("#loratorio_page_steps input[type=number]").input_value() == "150"
    page.wait_for_function(f"() => document.querySelector('{INFOTEXT}').value !== ''")

    prompt.fill("something else")
    page.evaluate(DROP, list(file))
    status.get_by_text("All controls are filled in").wait_for()
    assert page.locator("#loratorio_page_steps input[type=number]").input_value() == "10"
    look.set_number(page, "pictures", 1)
    generate(page)
    assert drawn(page) == text
    assert look.pictures(page, f"page-gradio-{gradio}") == {}
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
        """A sampler or a file that gradio refuses before it calls us; its page would not send them."""
        sent = json.loads(route.request.post_data)
        if len(sent["data"]) > PLACE_OF_SAMPLER:  # shorter ones are not the run's, but the page's own
            sent["data"][PLACE_OF_SAMPLER] = "none"
            foreign = {"path": "/etc/hostname", "meta": {"_type": "gradio.FileData"}}
            sent["data"] = [foreign if one is None else one for one in sent["data"]]
        route.continue_(post_data=json.dumps(sent))

    page.route("**/queue/join*", send_no_number)
    generate(page)
    refused(page, "Nothing was drawn: a value was refused")
    page.unroute("**/queue/join*")
    generate(page)
    drawn(page)


@every_gradio
def test_what_is_typed_while_a_page_is_loaded_again_stays_and_a_run_is_seen_at_once(
    page: Any, look: SimpleNamespace
) -> None:
    held: list[Any] = []  # requests that the server has not had yet
    released: list[bool] = []

    def hold(route: Any) -> None:
        if released:
            route.continue_()
        else:
            held.append(route)

    look.set_number(page, "steps", 149)
    look.write(page, "txt2img", "a cat <lora:cat:1>", "1 network composed")
    look.set_number(page, "pictures", 9)
    page.wait_for_timeout(500)
    generate(page)
    page.locator(STATUS).get_by_text("Drawing").first.wait_for()
    again = "(all) => Object.entries(all).forEach((one) => sessionStorage.setItem(...one))"
    stored = page.evaluate("() => JSON.stringify(sessionStorage)")
    url, page = page.url, page.context.new_page()  # as a reload, without its message about the answer it ends
    page.add_init_script(f"({again})({stored})")
    page.route("**/run/predict*", hold)
    page.goto(url)
    page.locator("#txt2img_prompt textarea").fill("typed meanwhile")
    page.locator(STATUS).get_by_text("Drawing").first.wait_for()
    assert page.locator("#loratorio_page_stop").is_enabled()
    released.append(True)
    for one in held:
        one.continue_()
    page.wait_for_function("() => document.querySelector('#loratorio_page_steps input').value === '149'")
    page.wait_for_timeout(3000)
    assert page.locator("#txt2img_prompt textarea").input_value() == "typed meanwhile"
    assert page.locator("#loratorio_page_pictures input[type=number]").input_value() == "9"
    assert look.pale(page) == []  # Stop can be pressed
    page.locator("#loratorio_page_stop").click()
    page.locator(STATUS).get_by_text("Stopped in picture").wait_for()


@every_gradio
def test_what_is_being_drawn_is_shown_in_the_picture_s_place_which_does_not_move(
    page: Any, look: SimpleNamespace
) -> None:
    held: list[Any] = []

    def hold(route: Any) -> None:
        held.append(route)

    page.route("**/queue/join*", hold)  # the server is slow to say whether a run goes on
    with page.expect_request("**/queue/join*"):
        page.reload()
    gallery = page.locator("#loratorio_page_gallery")
    gallery.wait_for()
    page.wait_for_timeout(500)
    before = gallery.bounding_box()
    for one in held:
        one.continue_()
    page.unroute("**/queue/join*")
    look.set_number(page, "steps", 150)
    generate(page)
    sketch = page.locator(f"{STATUS} img")
    sketch.wait_for()
    during = gallery.bounding_box()
    assert abs(during["y"] - before["y"]) <= 1
    # In one go, since every sketch takes the place of the one before.
    script = """(one) => {
        const box = document.querySelector(one)?.getBoundingClientRect();
        return box && box.height > 0 && [box.top, box.bottom];
    }"""
    top, bottom = page.wait_for_function(script, arg=f"{STATUS} img").json_value()
    assert during["y"] <= top < bottom <= during["y"] + during["height"]
    page.locator("#loratorio_page_stop").click()


@every_gradio
def test_a_paste_says_what_it_leaves_out_and_no_picture_to_start_from_is_said(page: Any) -> None:
    page.locator("#loratorio_page_use").click()
    refused(page, "There is no picture yet")
    page.get_by_role("button", name="Paste infotext").click()
    page.locator("#loratorio_page_paste textarea").fill("a cat\nSteps: 12, CFG scale: 99, Size: 72x65")
    page.locator("#loratorio_page_fill").click()
    said = page.locator("#loratorio_page_paste_status")
    said.get_by_text("CFG scale 99 (1 to 30; 4 kept), Size 72x65 (multiples of 8").wait_for()
    said.get_by_text("so composing is switched off").wait_for()
    page.evaluate(DROP, [1, 2, 3])
    refused(page, "This file has no infotext")
    page.wait_for_function("() => document.querySelector('#loratorio_page_paste_status p') === null")
