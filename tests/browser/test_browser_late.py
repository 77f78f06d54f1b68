"""Answers about the cost that come late leave what was done meanwhile, with every gradio that is in use."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

PANEL = "#script_txt2img_loratorio_{}"
GRID = f"{PANEL.format('place_picture')} .loratorio-grid svg"
PROMPT = "#txt2img_prompt textarea"
pytestmark = pytest.mark.parametrize("gradio", ["3.41.2", "4.40.0", "newest"])


@pytest.fixture
def page(slow_panel_page: Any, look: SimpleNamespace) -> Any:
    look.write(slow_panel_page, "txt2img", "<lora:cat:1> <lora:fox:1>", "2 networks composed")
    look.show(slow_panel_page, "txt2img", "Places and steps")
    slow_panel_page.locator(GRID).first.wait_for()
    slow_panel_page.wait_for_timeout(2000)  # answers to what was written are under way
    return slow_panel_page


def settled(page: Any) -> str:
    """The prompt when no answer is on its way any longer; they queue up where the machine is busy."""
    for _ in range(10):
        before = str(page.locator(PROMPT).input_value())
        page.wait_for_timeout(6000)
        if page.locator(PROMPT).input_value() == before:
            return before
    raise AssertionError("answers go on changing the prompt")


def stroke(page: Any, row: int) -> None:
    """Over the first four cells of a row; at once, as an answer may move the grid meanwhile."""
    page.wait_for_function(
        """([grid, row]) => {
            const one = document.querySelector(grid);
            if (one === null) return false; // an answer is replacing it
            const box = one.getBoundingClientRect();
            const clientY = box.top + (row + 0.5) * box.height / 8;
            for (const [kind, column] of [["down", 0], ["move", 1], ["move", 2], ["move", 3], ["up", 3]]) {
                const clientX = box.left + (column + 0.5) * box.width / 8;
                const more = { clientX, clientY, isPrimary: true, bubbles: true, cancelable: true };
                one.dispatchEvent(new PointerEvent(`pointer${kind}`, more));
            }
            return true;
        }""",
        arg=[GRID, row],
    )


@pytest.mark.parametrize(("presses", "pause"), [((12,), 250), ((4, 3, 5), 0)])
def test_every_press_of_a_slider_s_key_counts(page: Any, presses: tuple[int, ...], pause: int) -> None:
    slider = page.locator(f"{PANEL.format('place_last')} input[type=range]")
    for several in presses:
        slider.focus()
        for _ in range(several):
            page.keyboard.press("ArrowLeft")
            page.wait_for_timeout(pause)
        said, last = settled(page), float(slider.input_value())
        assert said == f"<lora:cat:1:steps=0-{last:g}> <lora:fox:1>"
    assert last == 0.4


def test_every_stroke_of_a_mask_counts(page: Any) -> None:
    for row in range(6):
        stroke(page, row)
        page.wait_for_timeout(300)
    painted = "/".join(["11110000"] * 6 + ["00000000"] * 2)
    assert settled(page) == f"<lora:cat:1:at={painted}> <lora:fox:1>"
    stroke(page, 0)
    page.locator(f"{PANEL.format('place_picture')} .loratorio-grid button").first.click()
    stroke(page, 7)
    painted = "/".join(["00000000"] * 7 + ["11110000"])
    assert settled(page) == f"<lora:cat:1:at={painted}> <lora:fox:1>"


def test_place_and_mask_follow_each_other_and_the_prompt(page: Any) -> None:
    places = page.locator(PANEL.format("place_at"))
    places.get_by_text("top left", exact=True).click()
    assert settled(page) == "<lora:cat:1:at=top-left> <lora:fox:1>"
    stroke(page, 7)
    painted = "/".join(["11110000"] * 4 + ["00000000"] * 3 + ["11110000"])
    assert settled(page) == f"<lora:cat:1:at={painted}> <lora:fox:1>"
    assert places.locator("input:checked").count() == 0
    page.locator(PROMPT).fill("<lora:cat:1:at=right:steps=0.2-1> <lora:fox:1>")
    settled(page)
    assert places.locator("label:has(input:checked)").inner_text().strip() == "right"
    first = page.locator(f"{PANEL.format('place_first')} input[type=range]")
    assert float(first.input_value()) == 0.2
    stroke(page, 0)
    assert ":at=11111111/00001111/" in settled(page)


def holding(page: Any, late: int) -> list[Any]:
    """The requests from now on; the one with this number is held back, until `let_go`."""
    asked: list[Any] = []

    def hold(route: Any) -> None:
        asked.append(route)
        if len(asked) != late:
            route.continue_()

    page.route("**/run/**", hold)
    return asked


def let_go(asked: list[Any], late: int) -> None:
    assert asked
    if len(asked) >= late:
        asked[late - 1].continue_()


@pytest.mark.parametrize("late", [1, 2, 3])
def test_the_cost_is_that_of_the_last_change_whichever_answer_is_late(
    panel_page: Any, look: SimpleNamespace, late: int
) -> None:
    look.write(panel_page, "txt2img", "<lora:cat:1> <lora:fox:1>", "2 networks composed")
    panel_page.wait_for_timeout(1000)
    asked = holding(panel_page, late)
    for name, value in (("#txt2img_steps", 30), (PANEL.format("looks"), 3), ("#txt2img_steps", 40)):
        number = panel_page.locator(f"{name} input[type=number]").first
        number.fill(str(value))
        number.press("Tab")
        panel_page.wait_for_timeout(1500)
    let_go(asked, late)
    cost = panel_page.locator(PANEL.format("cost")).first
    cost.get_by_text("predictions at 3 of 40 steps").wait_for()
    panel_page.wait_for_timeout(1500)
    assert "predictions at 3 of 40 steps" in cost.inner_text()


@pytest.mark.parametrize("late", [1, 2, 3])
def test_the_last_press_is_written_whichever_answer_is_late(page: Any, late: int) -> None:
    slider = page.locator(f"{PANEL.format('place_last')} input[type=range]")
    asked = holding(page, late)
    for presses in (2, 1):
        slider.focus()
        for _ in range(presses):
            page.keyboard.press("ArrowLeft")
        page.wait_for_timeout(2500)
    let_go(asked, late)
    wanted = "<lora:cat:1:steps=0-0.85> <lora:fox:1>"
    find = "([prompt, wanted]) => document.querySelector(prompt).value === wanted"
    page.wait_for_function(find, arg=[PROMPT, wanted])
    page.wait_for_timeout(1500)
    assert (page.locator(PROMPT).input_value(), slider.input_value()) == (wanted, "0.85")
