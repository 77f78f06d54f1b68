"""A real browser, pages in processes of their own, and the WebUIs' gradios; what is missing is said."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
PICTURES = ROOT / "outputs" / "browser"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NEWEST = "newest"
REQUIRED = os.environ.get("CI") == "true" and os.environ.get("LORATORIO_BROWSER") == "required"
PAGES = str(HERE / "pages.py")
# A page on a busy machine takes its time; nothing here measures it.
WAIT = 60_000  # milliseconds
# gradio's own page asks for scripts and letters elsewhere.
ELSEWHERE = re.compile("net::ERR_NAME_NOT_RESOLVED|Unable to preload CSS for https://fonts")
ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/?")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with one gradio are together, so that its pages are started once."""
    for item in items:
        parameters = item.callspec.params if hasattr(item, "callspec") else {}
        if "gradio" in parameters:
            item.add_marker(pytest.mark.xdist_group(f"browser-{parameters['gradio']}"))


def missing(reason: str) -> NoReturn:
    """Skip, or fail where a browser was promised."""
    if REQUIRED:
        pytest.fail(f"LORATORIO_BROWSER=required, but {reason}")
    pytest.skip(reason)


@dataclass
class Served:
    """A page in a process of its own."""

    url: str
    process: subprocess.Popen[str]
    lines: list[str]

    @property
    def said(self) -> str:
        return "".join(self.lines)


@contextlib.contextmanager
def served(command: Sequence[str], gradio: str, folder: Path) -> Iterator[Served]:
    """Run a command that prints its page's address, with a gradio in front of the environment's own."""
    paths = [str(ROOT)]
    if gradio != NEWEST:
        overlay = ROOT / "build" / f"gradio-{gradio}"
        if not (overlay / ".installed").is_file():
            missing(f"gradio {gradio} is not in {overlay.relative_to(ROOT)}; `make test` puts it there")
        paths.insert(0, str(overlay))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "XDG_CONFIG_HOME": str(folder / "config"),
        "APPDATA": str(folder / "config"),
        "TMPDIR": str(folder),
    }
    process = subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[str] = []
    found: queue.Queue[str | None] = queue.Queue()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if match := ADDRESS.search(line):
                found.put(match[0])
        found.put(None)

    threading.Thread(target=listen, daemon=True).start()
    try:
        url = found.get(timeout=120)
        assert url is not None, f"the page did not come up: {''.join(lines)}"
        yield Served(url.rstrip("/") + "/", process, lines)
    finally:
        process.terminate()
        process.wait(timeout=20)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    named = os.environ.get("LORATORIO_CHROMIUM")
    path = named or next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        missing(f"there is no browser: none of {', '.join(BROWSERS)}; LORATORIO_CHROMIUM can name one")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright is not installed; it is in the extra `dev`")
    with sync_playwright() as playwright:
        as_root = hasattr(os, "geteuid") and os.geteuid() == 0
        # Nothing leaves this machine.
        alone = ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]
        browser = playwright.chromium.launch(
            executable_path=path, args=alone + ["--no-sandbox"] * as_root, timeout=WAIT
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def context(browser: Any) -> Any:
    """One for all pages, so that the browser reads gradio's many scripts once."""
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme="light", accept_downloads=True
    )
    context.set_default_timeout(WAIT)
    return context


Open = Callable[..., Any]


@pytest.fixture(scope="session")
def look() -> SimpleNamespace:
    """The functions below, for the tests."""
    shared = (repeated_ids, nameless, pale, pictures, write, show, inspect, set_number)
    return SimpleNamespace(**{one.__name__: one for one in shared})


@pytest.fixture(scope="session")
def run_page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """run_page(gradio, *command) → its page, which later tests with that gradio get too."""
    running: dict[tuple[str, ...], Served] = {}
    with contextlib.ExitStack() as pages:

        def run(gradio: str, *command: str) -> Served:
            if any(one[0] != gradio for one in running):
                running.clear()
                pages.close()
            key = (gradio, *command)
            if key not in running:
                page = served(command, gradio, tmp_path_factory.mktemp("page"))
                running[key] = pages.enter_context(page)
            return running[key]

        yield run


@pytest.fixture
def open_page(context: Any) -> Iterator[Open]:
    """Open a page; afterwards there must have been no error in its console."""
    errors: list[str] = []

    def hear(text: str) -> None:
        if not ELSEWHERE.search(text):
            errors.append(text)

    def open_one(url: str) -> Any:
        page = context.new_page()
        page.on("console", lambda message: hear(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: hear(str(error)))
        page.goto(url)
        page.wait_for_selector("#txt2img_prompt textarea")
        settled(page)
        return page

    yield open_one
    for page in context.pages:
        page.evaluate("() => localStorage.clear()")
        page.close()
    assert errors == []


@pytest.fixture
def panel_page(gradio: str, run_page: Callable[..., Served], open_page: Open) -> Any:
    """The panels and the inspector alone, with this gradio."""
    return opened_panel(open_page, run_page(gradio, PAGES, "panel"), gradio)


@pytest.fixture
def slow_panel_page(gradio: str, run_page: Callable[..., Served], open_page: Open) -> Any:
    """The same, where every answer about the cost takes a while."""
    return opened_panel(open_page, run_page(gradio, PAGES, "panel", "0.7"), gradio)


def opened_panel(open_page: Open, served: Served, gradio: str) -> Any:
    page = open_page(served.url)
    if gradio.startswith("3."):
        # There a WebUI puts its extensions' scripts into the page, and gradio has no place for them.
        page.add_script_tag(path=ROOT / "javascript" / "loratorio.js")
    return page


@pytest.fixture
def toy_page(gradio: str, run_page: Callable[..., Served], open_page: Open) -> Any:
    """The page without a WebUI, over a painter that needs no model, with this gradio."""
    return open_page(run_page(gradio, PAGES, "toy").url)


def set_number(page: Any, item: str, value: object) -> None:
    """Set a number of the page without a WebUI."""
    box = page.locator(f"#loratorio_page_{item} input[type=number]")
    box.fill(str(value))
    box.press("Tab")


def show(page: Any, tab: str, *folded: str) -> None:
    """Choose a tab of the panels' page, and unfold parts of its panel."""
    if page.get_by_role("tab").count():
        page.get_by_role("tab", name=tab, exact=True).click()
    else:  # gradio 3 has no roles
        page.locator(".tab-nav button", has_text=tab).first.click()
    for one in folded:
        page.locator(f"#script_{tab}_loratorio_enabled_accordion").get_by_text(one).first.click()


def inspect(page: Any) -> None:
    """Choose the inspector, which then asks for the newest run; that answer moves its controls."""
    with page.expect_response(lambda one: one.request.method == "POST") as newest:
        show(page, "Inspector")
    newest.value.finished()
    settled(page)


def settled(page: Any, quiet: int = 500) -> None:
    """Wait until nothing has changed for so many milliseconds: gradio draws some parts a second time."""
    page.evaluate(
        """([quiet, longest]) => new Promise((done) => {
            let timer = setTimeout(finish, quiet);
            setTimeout(finish, longest);
            const watch = new MutationObserver(() => {
                clearTimeout(timer);
                timer = setTimeout(finish, quiet);
            });
            function finish() {
                watch.disconnect();
                done();
            }
            watch.observe(document.body, { childList: true, subtree: true });
        })""",
        [quiet, WAIT],
    )


def repeated_ids(page: Any) -> list[str]:
    """Ids that several elements have, except those that gradio makes up itself."""
    found: list[str] = page.evaluate(
        """() => {
            const seen = new Map();
            for (const one of document.querySelectorAll("[id]")) {
                if (one.id && !one.id.startsWith("component-")) seen.set(one.id, (seen.get(one.id) ?? 0) + 1);
            }
            return [...seen].filter(([, count]) => count > 1).map(([id]) => id);
        }"""
    )
    return found


def nameless(page: Any, within: str = "body") -> list[str]:
    """Visible controls that a screen reader could not name."""
    found: list[str] = page.evaluate(
        """(within) => [...document.querySelectorAll(`${within} :is(input, textarea, select, button)`)]
            .filter((one) => one.offsetParent !== null && one.type !== "file")
            .filter((one) => {
                const labels = [...(one.labels ?? [])].map((label) => label.innerText).join("");
                const named = one.getAttribute("aria-labelledby");
                const by = named ? document.getElementById(named)?.innerText : "";
                const own = (one.ariaLabel ?? "") + (one.title ?? "") + one.innerText;
                return !(labels + (by ?? "") + own).trim();
            })
            .map((one) => one.outerHTML.slice(0, 200))""",
        within,
    )
    return found


def pale(page: Any, within: str = "body") -> list[str]:
    """Visible texts with less contrast than WCAG 2 asks of small letters (4.5), except on dead controls.

    Colors that are on their way from one shade to another are waited for.
    """
    page.wait_for_function(
        "() => document.getAnimations().every((one) => one.playState !== 'running'"
        " || one.effect.getTiming().iterations === Infinity)"
    )
    found: list[str] = page.evaluate((HERE / "pale.js").read_text("utf-8"), within)
    return found


def pictures(page: Any, name: str) -> dict[str, int]:
    """By how much a page is too wide for its window; and screenshots, where somebody can look at them.

    It is dark afterwards.
    """
    PICTURES.mkdir(parents=True, exist_ok=True)
    wide: dict[str, int] = {}
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        for shade in ("light", "dark"):
            page.evaluate("(dark) => document.body.classList.toggle('dark', dark)", shade == "dark")
            if os.environ.get("CI") != "true":
                page.wait_for_timeout(200)
                page.screenshot(path=PICTURES / f"{name}-{width}-{shade}.png", full_page=True)
        extra = page.evaluate("() => document.documentElement.scrollWidth - window.innerWidth")
        wide |= {f"{name}-{width}": extra} if extra > 0 else {}
    page.set_viewport_size({"width": 1280, "height": 900})
    return wide


def write(page: Any, tab: str, prompt: str, cost: str) -> None:
    """Type a prompt, and see the cost line follow; once more where the page was not ready for typing."""
    box = page.locator(f"#{tab}_prompt textarea")
    line = page.locator(f"#script_{tab}_loratorio_cost").first.get_by_text(cost)
    for patience in (WAIT / 6, WAIT):
        box.fill("")
        box.press_sequentially(prompt)
        with contextlib.suppress(Exception):
            line.wait_for(timeout=patience)
            return
    raise AssertionError(f"the cost line of {tab} does not say {cost!r}")
