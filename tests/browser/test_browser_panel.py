"""Panel and inspector alone, in a real browser, with the gradio of each WebUI and the newest."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

PANEL = "#script_{tab}_loratorio_{item}"
FOLDED = ("Places and steps", "Advanced", "Pool: networks without a tag", "Presets of your own")
pytestmark = pytest.mark.parametrize("gradio", ["3.41.2", "4.40.0", "newest"])


@pytest.fixture
def page(panel_page: Any) -> Any:
    return panel_page


def of(tab: str, item: str) -> str:
    return PANEL.format(tab=tab, item=item)


def test_the_cost_follows_the_prompt_of_its_own_tab(page: Any, look: SimpleNamespace) -> None:
    assert "No network to compose yet" in page.locator(of("txt2img", "cost")).first.inner_text()
    look.write(page, "txt2img", "a cat <lora:cat:1> <lora:night:1>", "2 networks composed")
    look.show(page, "img2img")
    other = page.locator(of("img2img", "cost")).first
    other.wait_for()
    assert "No network to compose yet" in other.inner_text()


def test_place_and_steps_are_written_into_the_tag_that_is_chosen(page: Any, look: SimpleNamespace) -> None:
    def says(prompt: str) -> None:
        wait = "(said) => document.querySelector('#txt2img_prompt textarea').value === said"
        page.wait_for_function(wait, arg=prompt)

    look.write(page, "txt2img", "<lora:cat:1> <lora:fox:1>", "2 networks composed")
    look.show(page, "txt2img", "Places and steps")
    places = page.locator(of("txt2img", "place_at"))
    places.get_by_text("bottom left", exact=True).wait_for()
    gaps = places.locator("label span").evaluate_all(
        "(words) => words.map((one) => getComputedStyle(one).marginLeft)"
    )
    assert set(gaps) == {"0px"}  # so that "bottom left" has room beside its dot
    places.get_by_text("bottom left", exact=True).click()
    says("<lora:cat:1:at=bottom-left> <lora:fox:1>")
    page.locator(of("txt2img", "place_picture")).first.get_by_text("fox").wait_for()
    page.locator(f"{of('txt2img', 'place_network')} input").first.click()
    preset(page, "fox").click()
    places.locator("label:has(input:checked)", has_text="everywhere").wait_for()
    page.locator(f"{of('txt2img', 'place_last')} input[type=range]").focus()
    page.keyboard.press("ArrowLeft")
    says("<lora:cat:1:at=bottom-left> <lora:fox:1:steps=0-0.95>")
    page.locator("#txt2img_prompt textarea").fill("<lora:fox:1:at=0-0.5,0-1>")
    places.locator("label:has(input:checked)", has_text="left").wait_for()


def test_a_mask_is_painted_into_the_tag_that_is_chosen(page: Any, look: SimpleNamespace) -> None:
    def says(at: str) -> None:
        wait = "(said) => document.querySelector('#txt2img_prompt textarea').value === said"
        page.wait_for_function(wait, arg=f"<lora:cat:1{at}> <lora:fox:1>")

    def stroke(*cells: tuple[int, int]) -> None:
        boxes = [grid.bounding_box()]
        while len(boxes) < 5 or any(one != boxes[-1] for one in boxes[-5:]):
            page.wait_for_timeout(250)  # an answer to what was done before may still move the grid
            boxes.append(grid.bounding_box())
        grid.scroll_into_view_if_needed()
        box = grid.bounding_box()
        for number, (x, y) in enumerate(cells):
            page.mouse.move(
                box["x"] + (x + 0.5) * box["width"] / 8, box["y"] + (y + 0.5) * box["height"] / 8, steps=12
            )
            if number == 0:
                page.mouse.down()
        page.mouse.up()

    empty = ["00000000"] * 5
    look.write(page, "txt2img", "<lora:cat:1> <lora:fox:1>", "2 networks composed")
    look.show(page, "txt2img", "Places and steps")
    assert not page.locator(of("txt2img", "place_mask")).first.is_visible()
    grid = page.locator(f"{of('txt2img', 'place_picture')} .loratorio-grid svg").first
    stroke((0, 0), (3, 0), (3, 2))
    says(":at=" + "/".join(["11110000", "00010000", "00010000", *empty]))
    stroke((3, 1), (3, 2))
    says(":at=" + "/".join(["11110000", "00000000", "00000000", *empty]))
    page.wait_for_timeout(1000)
    page.locator(f"{of('txt2img', 'place_picture')} .loratorio-grid button").first.click()
    says("")
    page.locator(f"{of('txt2img', 'place_picture')} .loratorio-grid:not(:has(rect.on))").first.wait_for()
    stroke((0, 0), (3, 0))
    says(":at=" + "/".join(["11110000", "00000000", "00000000", *empty]))


def test_a_screen_reader_hears_the_cost_change(page: Any, look: SimpleNamespace) -> None:
    around = page.locator("[role=status]", has=page.locator(of("txt2img", "cost")))
    # A live region that is itself replaced is not heard.
    around.evaluate("(one) => { one.stays = true; }")
    look.write(page, "txt2img", "<lora:cat:1> <lora:fox:1>", "2 networks composed")
    assert around.evaluate("(one) => one.stays && one.role === 'status'")
    assert "2 networks composed" in around.inner_text()
    assert around.locator("[role=status], [aria-live]").count() == 0


def preset(page: Any, name: str) -> Any:
    """A name in the list of presets, while that is open."""
    return page.get_by_role("option", name=name).or_(page.locator("ul.options li", has_text=name)).first


def test_a_preset_sets_the_controls_and_the_cost(page: Any, look: SimpleNamespace) -> None:
    look.write(page, "txt2img", "<lora:cat:1> <lora:fox:1>", "4 predictions at 4 of 20 steps")
    page.locator(f"{of('txt2img', 'preset')} input").first.click()
    preset(page, "Fast").click()
    page.locator(of("txt2img", "cost")).first.get_by_text("4 predictions at 1 of 20 steps").wait_for()


def test_an_open_list_stays_whole_when_the_cost_comes(page: Any) -> None:
    page.locator(f"{of('txt2img', 'preset')} input").first.click()
    preset(page, "Fast").wait_for()
    with page.expect_response(lambda one: one.request.method == "POST") as answered:
        # As the page's own script does; nothing takes the list's focus away.
        page.evaluate("(button) => document.querySelector(button).click()", of("txt2img", "estimate"))
    answered.value.finished()
    page.wait_for_timeout(1000)
    for name in ("Balanced", "Fast", "Every step", "Faithful to the paper", "Large pool"):
        assert preset(page, name).is_visible(), name


def test_the_step_moves_by_keyboard(page: Any, look: SimpleNamespace) -> None:
    look.inspect(page)
    view = page.locator(".loratorio_inspector_view")
    view.get_by_text("Mean over all 8 steps").wait_for()
    slider = page.locator("#loratorio_inspector_step input[type=range]")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    view.get_by_text("Step 3 of 8").first.wait_for()
    assert slider.input_value() == "3"


def test_folded_parts_open_by_keyboard(page: Any) -> None:
    for part, inside in (("places_part", "place_at"), ("advanced", "temperature"), ("pool_part", "pool")):
        header = page.locator(f"{of('txt2img', part)} > .label-wrap").first
        header.focus()
        page.keyboard.press("Enter")
        page.locator(of("txt2img", inside)).first.wait_for(timeout=10_000)
        page.locator(
            f"{of('txt2img', part)} > [aria-expanded=true], {of('txt2img', part)} > button"
        ).wait_for()
        page.keyboard.press("Tab")
        assert header.evaluate("(one) => one.parentElement.contains(document.activeElement)")


def test_the_box_that_explains_is_dark_in_the_dark_and_framed_by_the_keyboard(page: Any) -> None:
    box = page.locator(f"{of('txt2img', 'explain')} input").first
    look_of = "(one, kind) => getComputedStyle(one)[kind]"
    light = box.evaluate(look_of, "backgroundColor")
    page.locator(f"{of('txt2img', 'preset')} input").first.focus()
    page.keyboard.press("Shift+Tab")
    assert box.evaluate("(one) => one === document.activeElement")
    assert box.evaluate(look_of, "outlineStyle") != "none"
    page.evaluate("() => document.body.classList.add('dark')")
    assert box.evaluate(look_of, "backgroundColor") != light


def test_it_fits_the_window_and_every_control_has_a_name(
    page: Any, look: SimpleNamespace, gradio: str
) -> None:
    look.write(page, "txt2img", "<lora:cat:1> <lora:fox:1>", "2 networks composed")
    looks = page.locator(of("txt2img", "looks"))
    long_text = looks.get_by_text("At how many steps, half of them")
    assert not long_text.is_visible()
    looks.hover()
    assert "At how many steps" in looks.get_attribute("title")
    page.locator(f"{of('txt2img', 'explain')} input").first.check()
    long_text.wait_for()
    shown = "(list) => list.map((one) => getComputedStyle(one).display)"
    empty = page.locator(".block[class*=_loratorio_not_pasted]").evaluate_all(shown)
    assert empty and set(empty) == {"none"}
    for tab in ("txt2img", "Inspector"):
        look.show(page, tab, *(FOLDED if tab == "txt2img" else ()))
        page.wait_for_timeout(500)
        assert look.pictures(page, f"panel-{gradio}-{tab}") == {}
        assert look.repeated_ids(page) == []
        assert look.nameless(page, "[id*=loratorio]") == []
        for dark in (False, True):
            page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", dark)
            page.wait_for_timeout(300)
            assert look.pale(page, "[id*=loratorio]") == []


def test_explain_shows_the_help_of_a_slider_below_its_name_as_wide_as_it(
    page: Any, look: SimpleNamespace
) -> None:
    page.locator("input.loratorio-explain").first.check()
    shares = page.locator(of("txt2img", "looks")).first.evaluate(
        """(block) => {
            const box = (one) => block.querySelector(one).getBoundingClientRect();
            const [head, help] = [box(".head"), box(".has-info + div")];
            return [help.width / head.width, help.top - box("input[type=number]").bottom];
        }"""
    )
    assert shares[0] > 0.95 and shares[1] >= -1
