"""The page as a whole: drawing in one tab, the inspector in the other; and how it is opened to browsers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from html import escape
from importlib import resources
from typing import Any, Final

import gradio as gr

from loratorio_ext.server.server import Server
from loratorio_ext.server.words import folder_beside
from loratorio_ext.ui.gradio_tools import accepted
from loratorio_ext.ui.inspector.tab import build_inspector
from loratorio_ext.ui.page.controls import (
    PREFIX,
    PromptControls,
    Results,
    SamplingControls,
    accordion_with_box,
    build_examples,
    panel_id,
)
from loratorio_ext.ui.page.events import Drawing, connect_lists, connect_paste, connect_run
from loratorio_ext.ui.page.generator import Generator
from loratorio_ext.ui.page.models import build_models, connect_models
from loratorio_ext.ui.page.runs import Runs
from loratorio_ext.ui.panel.build import build_panel
from loratorio_ext.ui.panel.cost import PageInputs

TITLE: Final = "LoRAtorio"


@dataclass(frozen=True)
class Address:
    """Where browsers find the page, and whether one is opened."""

    host: str
    port: int
    open_browser: bool = False


def serve_page(server: Server, generator: Generator, address: Address, ready: Callable[[str], None]) -> None:
    """Serve at a free port until Ctrl-C; ``ready`` gets the page's address when a browser can open it."""
    folder = folder_beside("javascript")
    # The script that WebUIs load as well, and the page's own.
    scripts = [resources.files(__package__).joinpath("page.js")]
    if folder is not None:
        scripts.append(folder / "loratorio.js")
    look: dict[str, Any] = {
        "theme": _theme(),
        "css": resources.files(__package__).joinpath("page.css").read_text("utf-8"),
        "head": "".join(f"<script>{one.read_text('utf-8')}</script>" for one in scripts),
    }
    blocks = build_page(server, generator, look)
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


def build_page(server: Server, generator: Generator, look: dict[str, Any]) -> Any:
    """The page, ready to be launched.

    ``look``: theme, css and head, for a gradio that takes them here; others take them in ``launch``.
    """
    words, facts = server.words(), generator.facts
    with gr.Blocks(title=TITLE, **accepted(gr.Blocks.__init__, analytics_enabled=False, **look)) as blocks:
        about = "" if facts.models else escape(words("Model: {name}", name=facts.name))
        gr.HTML(f'<header class="loratorio-head"><h1>{TITLE}</h1><p>{about}</p></header>')
        with gr.Tabs(selected="draw"):
            with gr.Tab(words("Draw"), id="draw", elem_id=f"{PREFIX}_draw"), gr.Row(elem_id=f"{PREFIX}_work"):
                with gr.Column(elem_id=f"{PREFIX}_wanted"):
                    model = build_models(facts, words)
                    prompt = PromptControls(facts, list(server.networks()), words)
                with gr.Column(elem_id=f"{PREFIX}_drawn"):
                    results = Results(words)
                with gr.Column(elem_id=f"{PREFIX}_settings"):
                    # Made before the panel, which looks at two of them, and shown below it.
                    with gr.Column(render=False) as below:
                        sampling = SamplingControls(facts, words)
                        examples = build_examples(facts, prompt.prompt, words)
                        refresh = gr.Button(
                            words("Read the folder of networks again"), size="sm", elem_id=f"{PREFIX}_refresh"
                        )
                    accordion = partial(accordion_with_box, words=words)
                    page_inputs = PageInputs(prompt.prompt, sampling.steps, sampling.cfg, *sampling.passes)
                    panel = build_panel(accordion, panel_id, server, page_inputs, words)
                    below.render()
            with gr.Tab(words("Inspector"), id="inspect", elem_id=f"{PREFIX}_inspect"):
                newest = build_inspector(server, words=words)
        runs = Runs(generator, server.history)
        connect_lists(prompt, refresh, examples, server)
        drawing = Drawing(prompt, sampling, panel, results, newest)
        connect_run(drawing, runs, generator, words)
        connect_paste(drawing, generator, words)
        if model is not None:
            connect_models(model, drawing, runs, generator, words)
    return blocks


def _theme() -> Any:
    """Gradio's own, with enough contrast for small letters and for white ones on buttons."""
    # Its fonts would be asked of a server; these are on every machine.
    font, font_mono = ("ui-sans-serif", "system-ui", "sans-serif"), ("ui-monospace", "Consolas", "monospace")
    buttons = {
        f"button_{kind}_background_fill{state}{shade}": color
        for kind, *colors in (("primary", "*primary_700", "*primary_800"), ("cancel", "#b91c1c", "#991b1b"))
        for state, color in zip(("", "_hover"), colors, strict=True)
        for shade in ("", "_dark")
    }
    return gr.themes.Default(font=font, font_mono=font_mono).set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_title_text_color="*neutral_700",
        button_primary_text_color="white",
        button_cancel_text_color="white",
        **buttons,
    )
