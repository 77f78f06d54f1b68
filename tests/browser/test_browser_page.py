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

from loratorio_ext.run import REPORT_SCHEMA

PROMPT = "a red plain star on grid with moon <lora:star:1> <lora:grid:1> <lora:moon:1>"
STATUS = "#loratorio_page_status"
PANEL = "#script_txt2img_loratorio"


pytestmark = pytest.mark.parametrize("gradio", ["newest"])


@pytest.fixture
def page_of_model(gradio: str, run_page: Callable[..., Any], folder: Path) -> Any:
    return run_page(gradio, "-m", "loratorio_ext", "serve", "--port", "0", "--out", str(folder))


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

    tab(page, "Inspector")
    view = page.locator(".loratorio_inspector_view")
    view.get_by_text("Mean over all 8 steps").wait_for()
    page.wait_for_timeout(1500)  # until it has asked for the newest run
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
    look.set_number(page, "steps", 30)
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


@pytest.mark.parametrize(
    ("prompt", "seed", "message"),
    [
        ("a star <lora:staar:1>", "1", "did you mean 'star'?"),
        ("a star <lora:star:much>", "1", "The prompt cannot be used"),
        ("a star", "-7", "Seed is -7; give a whole number"),
        ("a star", "", "Seed is"),
    ],
)
def test_wrong_input_is_said(page: Any, prompt: str, seed: str, message: str, look: SimpleNamespace) -> None:
    write(page, prompt)
    look.set_number(page, "seed", seed)
    page.locator("#loratorio_page_generate").click()
    alert = page.get_by_role("alert")
    alert.get_by_text(message).wait_for()
    assert page.locator("#loratorio_page_stop").is_disabled()


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
