"""Panel and inspector alone, in a real browser, with the gradio of each WebUI and the newest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PANEL = "#script_{tab}_loratorio_{item}"


@pytest.fixture(scope="module", params=["3.41.2", "4.40.0", "newest"])
def gradio(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def url(
    gradio: str, browser: Any, run_page: Callable[..., Iterator[Any]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    command = [str(ROOT / "tests" / "browser" / "panel_page.py")]
    for page in run_page(command, gradio, tmp_path_factory.mktemp("panel")):
        yield page.url


@pytest.fixture
def opened(url: str, gradio: str, open_page: Callable[..., Any]) -> Callable[..., Any]:
    def opened(**options: Any) -> Any:
        page = open_page(url, **options)
        page.wait_for_selector("#txt2img_prompt textarea")
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


def test_the_cost_follows_the_prompt_of_its_own_tab(opened: Callable[..., Any]) -> None:
    page = opened()
    cost = page.locator(of("txt2img", "cost"))
    assert "No network to compose yet" in cost.inner_text()
    page.locator("#txt2img_prompt textarea").press_sequentially("a cat <lora:cat:1> <lora:night:1>")
    cost.get_by_text("2 networks composed").wait_for()
    show(page, "img2img")
    other = page.locator(of("img2img", "cost"))
    other.wait_for()
    assert "No network to compose yet" in other.inner_text()


def test_a_preset_sets_the_controls_and_the_cost(opened: Callable[..., Any]) -> None:
    page = opened()
    page.locator("#txt2img_prompt textarea").press_sequentially("<lora:cat:1> <lora:fox:1>")
    cost = page.locator(of("txt2img", "cost"))
    cost.get_by_text("4 predictions a step").wait_for()
    preset = page.locator(f"{of('txt2img', 'preset')} input").first
    preset.click()
    page.get_by_role("option", name="Fast").or_(page.locator("ul.options li", has_text="Fast")).first.click()
    cost.get_by_text("2 to 4 predictions a step").or_(cost.get_by_text("3 to 4 predictions a step")).wait_for()


def test_the_step_moves_by_keyboard(opened: Callable[..., Any]) -> None:
    page = opened()
    show(page, "Inspector")
    view = page.locator("#loratorio_inspector_view")
    view.get_by_text("Mean over all 8 steps").wait_for()
    slider = page.locator("#loratorio_inspector_step input[type=range]")
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    view.get_by_text("Step 3 of 8").first.wait_for()
    assert slider.input_value() == "3"


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_the_window_and_every_control_has_a_name(
    opened: Callable[..., Any], look: SimpleNamespace, gradio: str, width: int, dark: bool
) -> None:
    page = opened(width=width, dark=dark)
    page.locator("#txt2img_prompt textarea").press_sequentially("<lora:cat:1> <lora:fox:1>")
    page.locator(of("txt2img", "cost")).get_by_text("2 networks composed").wait_for()
    shade = "dark" if dark else "light"
    for tab in ("txt2img", "Inspector"):
        show(page, tab)
        page.wait_for_timeout(300)
        look.picture(page, f"panel-{gradio}-{tab}-{width}-{shade}")
        assert look.too_wide(page) == 0
        assert look.repeated_ids(page) == []
        assert look.nameless(page, "[id*=loratorio]") == []
