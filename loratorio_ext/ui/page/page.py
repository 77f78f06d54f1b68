"""The page as a whole: drawing in one tab, the inspector in the other."""

from __future__ import annotations

from html import escape
from importlib import resources
from typing import Any

import gradio as gr

from loratorio_ext.server.server import Server
from loratorio_ext.ui.inspector.tab import build_inspector
from loratorio_ext.ui.page.boxed import boxed_accordion
from loratorio_ext.ui.page.controls import (
    PREFIX,
    build_examples,
    build_prompt,
    build_results,
    build_sampling,
    panel_id,
)
from loratorio_ext.ui.page.drawing import Painter
from loratorio_ext.ui.page.events import Parts, connect
from loratorio_ext.ui.page.runs import Runs
from loratorio_ext.ui.page.versions import accepted
from loratorio_ext.ui.panel import Around, build_panel

TITLE = "LoRAtorio"


def page_css() -> str:
    """The page's own rules of style."""
    return resources.files(__package__).joinpath("page.css").read_text("utf-8")


def build_page(server: Server, painter: Painter, look: dict[str, Any]) -> Any:
    """The page, ready to be launched.

    Args:
        server: where networks, language and runs are kept.
        painter: the model.
        look: theme, css and head, for a gradio that takes them here; others take them in ``launch``.
    """
    words, facts = server.words(), painter.facts
    with gr.Blocks(title=TITLE, **accepted(gr.Blocks.__init__, analytics_enabled=False, **look)) as blocks:
        model = escape(words("Model: {name}", name=facts.name))
        gr.HTML(f'<header class="loratorio-head"><h1>{TITLE}</h1><p>{model}</p></header>')
        with gr.Tabs(selected="draw"):
            with gr.Tab(words("Draw"), id="draw", elem_id=f"{PREFIX}_draw"), gr.Row():
                with gr.Column(scale=6, min_width=320):
                    prompt = build_prompt(facts, list(server.networks()), words)
                    results = build_results(words)
                with gr.Column(scale=5, min_width=320):
                    examples = build_examples(facts, prompt.prompt, words)
                    sampling = build_sampling(facts, words)

                    def accordion(value: bool, *, label: str, elem_id: str) -> Any:
                        # Here the box begins ticked: who opens this page wants to see networks composed.
                        return boxed_accordion(True, label=label, elem_id=elem_id, words=words)

                    # Pictures are drawn one at a time, so their number does not change what a step costs.
                    around = Around(prompt=prompt.prompt, steps=sampling.steps, guidance=sampling.cfg)
                    panel = build_panel(accordion, panel_id, server, around, words)
            with gr.Tab(words("Inspector"), id="inspect", elem_id=f"{PREFIX}_inspect"):
                inspector = build_inspector(server, words=words)
        parts = Parts(prompt, examples, sampling, results, panel, inspector)
        connect(parts, server, facts, Runs(painter, server.history))
    return blocks
