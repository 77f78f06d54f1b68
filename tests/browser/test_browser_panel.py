"""Panel and inspector alone, in a real browser, with the gradio of each WebUI and the newest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PANEL = "#script_{tab}_loratorio_{item}"
FOLDED = ("Advanced", "Pool: networks without a tag", "Presets of your own")


@pytest.fixture(scope="module", params=["3.41.2", "4.40.0", "newest"])
def gradio(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def url(
    gradio: str,
    browser: Any,
    run_page: Callable[..., Iterator[Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    command = [str(ROOT / "tests" / "browser" / "panel_page.py")]
    for page in run_page(command, gradio, tmp_path_factory.mktemp("panel")):
        yield page.url


@pytest.fixture
def opened(url: str, gradio: str, open_page: Callable[..., Any]) -> Callable[..., Any]:
    def opened() -> Any:
        page = open_page(url)
        if gradio.startswith("3."):
            # There a WebUI puts its extensions' scripts into the page, and gradio has no place for them.
            page.add_script_tag(path=ROOT / "javascript" / "loratorio.js")
        return page

    return opened


def of(tab: str, item: str) -> str:
    return PANEL.format(tab=tab, item=item)


def show(page: Any, tab: str) -> None:
    if page.get_by_role("tab").count():
        page.get_by_role("tab", name=tab, exact=True).click()
    else:  # gradio 3 has no roles
        page.locator(".tab-nav button", has_text=tab).first.click()


def test_the_cost_follows_the_prompt_of_its_own_tab(
    opened: Callable[..., Any], look: SimpleNamespace
) -> None:
    page = opened()
    assert "No network to compose yet" in page.locator(of("txt2img", "cost")).first.inner_text()
    look.write(page, "txt2img", "a cat <lora:cat:1> <lora:night:1>", "2 networks composed")
    show(page, "img2img")
    other = page.locator(of("img2img", "cost")).first
    other.wait_for()
    assert "No network to compose yet" in other.inner_text()


def test_a_screen_reader_hears_the_cost_change(opened: Callable[..., Any], look: SimpleNamespace) -> None:
    page = opened()
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


def test_a_preset_sets_the_controls_and_the_cost(opened: Callable[..., Any], look: SimpleNamespace) -> None:
    page = opened()
    look.write(page, "txt2img", "<lora:cat:1> <lora:fox:1>", "4 predictions a step")
    page.locator(f"{of('txt2img', 'preset')} input").first.click()
    preset(page, "Fast").click()
    page.locator(of("txt2img", "cost")).first.get_by_text("2 to 4 predictions a step").wait_for()


def test_an_open_list_stays_whole_when_the_cost_comes(opened: Callable[..., Any]) -> None:
    page = opened()
    page.locator(f"{of('txt2img', 'preset')} input").first.click()
    preset(page, "Fast").wait_for()
    with page.expect_response(lambda one: one.request.method == "POST") as answered:
        # As the page's own script does; nothing takes the list's focus away.
        page.evaluate("(button) => document.querySelector(button).click()", of("txt2img", "estimate"))
    answered.value.finished()
    page.wait_for_timeout(1000)
    for name in ("Balanced", "Fast", "Faithful to the paper", "Large pool"):
        assert preset(page, name).is_visible(), name


def test_the_step_moves_by_keyboard(opened: Callable[..., Any]) -> None:
    page = opened()
    show(page, "Inspector")
    view = page.locator(".loratorio_inspector_view")
    view.get_by_text("Mean over all 8 steps").wait_for()
    slider = page.locator("#loratorio_inspector_step input[type=range]")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    view.get_by_text("Step 3 of 8").first.wait_for()
    assert slider.input_value() == "3"


def test_it_fits_the_window_and_every_control_has_a_name(
    opened: Callable[..., Any], look: SimpleNamespace, gradio: str
) -> None:
    page = opened()
    look.write(page, "txt2img", "<lora:cat:1> <lora:fox:1>", "2 networks composed")
    for tab in ("txt2img", "Inspector"):
        show(page, tab)
        for folded in FOLDED if tab == "txt2img" else ():
            page.locator("#script_txt2img_loratorio_enabled_accordion").get_by_text(folded).first.click()
        page.wait_for_timeout(500)
        assert look.pictures(page, f"panel-{gradio}-{tab}") == {}
        assert look.repeated_ids(page) == []
        assert look.nameless(page, "[id*=loratorio]") == []
        for dark in (False, True):
            page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", dark)
            page.wait_for_timeout(300)
            assert look.pale(page, "[id*=loratorio]") == []
