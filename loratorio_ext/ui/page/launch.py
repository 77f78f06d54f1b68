"""Opens the page to browsers, and waits."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import gradio as gr

from loratorio_ext.server.beside import folder_beside
from loratorio_ext.server.server import Server
from loratorio_ext.ui.page.drawing import Painter
from loratorio_ext.ui.page.page import build_page, page_css
from loratorio_ext.ui.page.versions import accepted

# gradio's own theme asks a server of fonts; these are on every machine.
_FONT: Final = ("ui-sans-serif", "system-ui", "sans-serif")
_MONOSPACE: Final = ("ui-monospace", "Consolas", "monospace")


@dataclass(frozen=True)
class Address:
    """Where browsers find the page, and whether one is opened."""

    host: str
    port: int
    open_browser: bool = False


def serve_page(server: Server, painter: Painter, address: Address, ready: Callable[[str], None]) -> None:
    """Serve until Ctrl-C.

    Args:
        server: see `build_page`.
        painter: see `build_page`.
        address: a port that is free.
        ready: is called with the page's address as soon as a browser can open it.
    """
    look: dict[str, Any] = {"theme": _theme(), "css": page_css(), "head": page_head()}
    blocks = build_page(server, painter, look)
    options = accepted(
        gr.Blocks.launch,
        **look,
        server_name=address.host,
        server_port=address.port,
        inbrowser=address.open_browser,
        quiet=True,
        prevent_thread_lock=True,
        share=False,
        ssr_mode=False,
        show_api=False,
        footer_links=["settings"],
    )
    _, url, _ = blocks.launch(**options)
    ready(str(url))
    try:
        threading.Event().wait()
    finally:
        blocks.close(verbose=False)


def page_head() -> str:
    """What stands in the page's head: the script that WebUIs load as well, in the page itself."""
    folder = folder_beside("javascript")
    return f"<script>{(folder / 'loratorio.js').read_text('utf-8')}</script>" if folder else ""


def _theme() -> Any:
    """Gradio's own, with enough contrast for small letters and for white ones on buttons."""
    return gr.themes.Default(font=_FONT, font_mono=_MONOSPACE).set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_700",
        button_primary_text_color="white",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
    )
