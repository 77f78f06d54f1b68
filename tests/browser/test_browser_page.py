"""The page without a WebUI, in a real browser, with the embedded model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from PIL import Image

from loratorio_ext.run import REPORT_SCHEMA

PROMPT = "a red plain star on grid with moon <lora:star:1> <lora:grid:1> <lora:moon:1>"
STATUS = "#loratorio_page_status"
PANEL = "#script_txt2img_loratorio"
DROP = """(target, bytes) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([new Uint8Array(bytes)], "a.png", { type: "image/png" }));
    target.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""


pytestmark = pytest.mark.parametrize("gradio", ["newest"])


@pytest.fixture
def page_of_model(gradio: str, run_page: Callable[..., Any], folder: Path) -> Any:
    return run_page(gradio, "-m", "loratorio", "serve", "--port", "0", "--out", str(folder))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the page writes its pictures."""
    return tmp_path_factory.mktemp("serve") / "pictures"


@pytest.fixture
def page(page_of_model: Any, open_page: Callable[..., Any]) -> Iterator[Any]:
    yield open_page(page_of_model.url)
    assert "Traceback" not in page_of_model.said


def write(page: Any, prompt: str) -> None:
    page.locator("#txt2img_prompt textarea").fill(prompt)


def said(page: Any, text: str) -> None:
    page.locator(STATUS).get_by_text(text).wait_for()


def draw(page: Any, end: str = "1 picture in") -> str:
    """Generate, wait, and give the infotext."""
    page.locator("#loratorio_page_generate").click()
    page.locator(STATUS).get_by_text(re.compile("Waiting|Drawing")).first.wait_for()
    said(page, end)
    return infotext(page)


def infotext(page: Any) -> str:
    return str(page.locator("#loratorio_page_infotext textarea").input_value())


def shown_picture(page: Any) -> bytes:
    image = page.locator("#loratorio_page_gallery img").first
    image.wait_for()
    return bytes(page.request.get(image.evaluate("one => one.src")).body())


def tab(page: Any, name: str) -> None:
    page.get_by_role("tab", name=name).click()


def test_from_a_prompt_to_the_same_picture_again(
    page: Any, look: SimpleNamespace, page_of_model: Any
) -> None:
    page.locator("#txt2img_prompt textarea").fill("a circle")
    look.write(page, "txt2img", PROMPT, "3 networks composed: 5 predictions at 4 of 20 steps")
    look.set_number(page, "seed", 5)
    look.set_number(page, "steps", 8)
    first = draw(page)
    assert first.startswith(PROMPT)
    assert "Steps: 8" in first and "Seed: 5" in first and "LoRAtorio enabled: True" in first
    drawn = shown_picture(page)
    assert drawn.startswith(b"\x89PNG")
    assert b"parameters" in drawn

    look.inspect(page)
    view = page.locator(".loratorio_inspector_view")
    view.get_by_text("Mean over all 8 steps").wait_for()
    page.locator("#loratorio_inspector_step input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    view.get_by_text("Step 1 of 8").first.wait_for()
    page.keyboard.press("ArrowRight")
    view.get_by_text("Step 2 of 8").first.wait_for()
    page.locator("#loratorio_inspector_make_files").click()
    with page.expect_download() as download:
        page.locator("#loratorio_inspector_files a[href*='.json']").first.click()
    report = json.loads(Path(download.value.path()).read_text("utf-8"))
    # As JSON: the schema itself is read-only.
    jsonschema.validate(report, json.loads(json.dumps(REPORT_SCHEMA.copy())))
    assert report["composed"] == ["star", "grid", "moon"]

    tab(page, "Draw")
    write(page, "something else")
    look.set_number(page, "seed", 77)
    look.set_number(page, "steps", 3)
    page.locator(PANEL + "_enabled input").uncheck()
    assert shown_after(page, drawn, draw(page)) is False
    page.get_by_role("button", name="Paste infotext").click()
    page.locator("#loratorio_page_paste textarea").fill(first)
    page.locator("#loratorio_page_fill").click()
    page.locator("#loratorio_page_paste_status").get_by_text("All controls are filled in").wait_for()
    assert shown_after(page, drawn, draw(page)) is True
    assert infotext(page) == first
    assert look.repeated_ids(page) == []


def shown_after(page: Any, drawn: bytes, text: str) -> bool:
    assert text
    page.wait_for_timeout(500)
    return shown_picture(page) == drawn


def test_a_stop_keeps_what_is_finished(page: Any, look: SimpleNamespace) -> None:
    write(page, PROMPT)
    look.set_number(page, "pictures", 6)
    look.set_number(page, "steps", 15)
    page.locator("#loratorio_page_generate").click()
    said(page, "Drawing picture 2 of 6")
    assert page.locator(f"{STATUS} progress").get_attribute("aria-label")
    page.locator("#loratorio_page_stop").focus()
    page.keyboard.press("Enter")
    said(page, "Stopped in picture")
    kept = re.search(r"in picture (\d) of 6, .* kept: (\d)\.", page.locator(STATUS).inner_text())
    assert kept is not None
    assert 1 <= int(kept[2]) == int(kept[1]) - 1 < 6
    assert infotext(page).startswith(PROMPT)
    assert page.locator("#loratorio_page_stop").is_disabled()
    look.set_number(page, "pictures", 1)
    look.set_number(page, "steps", 2)
    assert "Steps: 2" in draw(page)


def test_off_means_merged(page: Any, look: SimpleNamespace) -> None:
    write(page, PROMPT)
    look.set_number(page, "steps", 2)
    page.locator(PANEL + "_enabled input").uncheck()
    text = draw(page)
    assert "Networks combined by: merge" in text
    assert "LoRAtorio enabled" not in text


def test_wrong_input_is_said(page: Any, look: SimpleNamespace) -> None:
    for prompt, seed, message in (
        ("a star <lora:staar:1>", "1", "'staar' is not among the networks; did you mean 'star'?"),
        ("a star", "", "Seed is"),
        ("a star", "1.5", "Seed is 1.5; give a whole number"),
        ("a star", "-7", "Seed is -7; give a whole number"),
    ):
        write(page, prompt)
        look.set_number(page, "seed", seed)
        page.locator("#loratorio_page_generate").click()
        page.get_by_role("alert").get_by_text(message).wait_for()
        assert page.locator("#loratorio_page_stop").is_disabled()


def test_a_result_is_drawn_again_larger_or_from_itself_and_both_come_back_by_infotext(
    page: Any, look: SimpleNamespace
) -> None:
    cost, start = page.locator(PANEL + "_cost"), page.locator("#loratorio_page_start")
    look.set_number(page, "steps", 8)
    look.set_number(page, "seed", 5)
    page.get_by_role("button", name="Hires. fix").click()
    look.set_number(page, "hires_scale", 1.5)
    look.set_number(page, "hires_steps", 5)
    look.set_number(page, "hires_strength", 0.6)
    cost.get_by_text("with the 5 steps of Hires. fix").wait_for()
    write(page, PROMPT)
    cost.get_by_text("5 predictions at 4 of 13 steps and 2 at the others").wait_for()
    larger = draw(page)
    assert "Size: 64x64" in larger
    assert "Denoising strength: 0.6, Hires upscale: 1.5, Hires steps: 5, Hires upscaler: Latent" in larger
    size = "(one) => one.decode().then(() => [one.naturalWidth, one.naturalHeight])"
    assert page.locator("#loratorio_page_gallery img").first.evaluate(size) == [96, 96]

    page.locator("#loratorio_page_use").click()
    start.locator("img").wait_for()
    page.locator("#loratorio_page_generate").click()
    page.get_by_role("alert").get_by_text("do not go together").wait_for()
    look.set_number(page, "hires_scale", 1)
    look.set_number(page, "strength", 0.5)
    cost.get_by_text("5 predictions at 3 of 5 steps").wait_for()
    again = draw(page)
    assert "Size: 96x96" in again and "Denoising strength: 0.5, Networks" in again
    page.locator("#loratorio_page_status").get_by_text("1 picture in").wait_for()

    page.get_by_role("button", name="Paste infotext").click()
    for text, scale, strength in ((larger, "1.5", "0.5"), (again, "1", "0.5")):
        page.locator("#loratorio_page_paste textarea").fill(text)
        page.locator("#loratorio_page_fill").click()
        value = "([item, value]) => document.querySelector(`#loratorio_page_${item} input`).value === value"
        page.wait_for_function(value, arg=["hires_scale", scale])
        page.wait_for_function(value, arg=["strength", strength])
    # With the first the picture has gone, which the second does not bring back.
    page.locator("#loratorio_page_paste_status").get_by_text("put it under Start picture").wait_for()
    assert start.locator("img").count() == 0


def test_a_picture_that_is_dropped_on_start_picture_is_drawn_from(
    page: Any, look: SimpleNamespace, tmp_path: Path
) -> None:
    write(page, "a red star")
    look.set_number(page, "steps", 4)
    look.set_number(page, "seed", 5)
    page.get_by_role("button", name="Start picture (img2img)").click()
    Image.new("RGB", (40, 30), (200, 30, 30)).save(tmp_path / "red.png")
    data = list((tmp_path / "red.png").read_bytes())
    target = page.locator("#loratorio_page_start button", has_text="Drop").first
    target.evaluate(DROP, data)
    page.locator("#loratorio_page_start img").wait_for()
    assert "Denoising strength: 0.75" in draw(page)
    page.evaluate(f"(data) => ({DROP})(document.body, data)", data)
    page.get_by_role("alert").get_by_text("This file has no infotext").wait_for()


def test_a_click_puts_a_tag_in_and_another_takes_it_out(page: Any) -> None:
    write(page, "a heart")
    box = page.locator("#txt2img_prompt textarea")
    page.locator("#loratorio_page_networks").get_by_text("heart", exact=True).click()
    page.wait_for_function("() => document.querySelector('#txt2img_prompt textarea').value.includes('<')")
    assert box.input_value() == "a heart <lora:heart:1>"
    page.locator(f"{PANEL}_cost").get_by_text("1 network composed").wait_for()
    page.locator("#loratorio_page_networks").get_by_text("heart", exact=True).click()
    page.wait_for_function("() => !document.querySelector('#txt2img_prompt textarea').value.includes('<')")
    page.locator(f"{PANEL}_cost").get_by_text("No network to compose yet").wait_for()
    page.locator("#loratorio_page_examples").get_by_text("an orange striped star").click()
    page.wait_for_function(
        "() => document.querySelector('#txt2img_prompt textarea').value.includes('orange')"
    )


def test_it_fits_the_window_and_every_control_has_a_name(page: Any, look: SimpleNamespace) -> None:
    look.set_number(page, "steps", 8)
    look.set_number(page, "seed", 3)
    draw(page)
    for dark in (False, True):
        page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", dark)
        page.wait_for_timeout(300)
        assert look.pale(page) == []
    for name in ("Draw", "Inspector"):
        tab(page, name)
        page.wait_for_timeout(500)
        assert look.pictures(page, f"page-{name}") == {}
        assert look.repeated_ids(page) == []
        assert look.nameless(page) == []
