"""In a WebUI every text of ours is in the page's language, whoever translates it.

A WebUI's page looks its texts up in the language file, each as a whole and only those without a pictograph
(javascript/localization.js); everything else must come translated from the server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr
import pytest

from loratorio_ext.server.words import language_files, words_in
from loratorio_ext.ui.inspector.tab import build_inspector
from loratorio_ext.ui.page.controls import accordion_with_box
from loratorio_ext.ui.panel.build import build_panel
from loratorio_ext.ui.panel.cost import PageInputs

TEXTS = json.loads(language_files()["de_DE"].read_text("utf-8"))


def texts_on(blocks: gr.Blocks) -> Iterator[str]:
    for one in blocks.blocks.values():
        shown = [getattr(one, "label", None), getattr(one, "info", None), getattr(one, "placeholder", None)]
        shown += [one.value] if isinstance(one, gr.Button) else []
        yield from (text for text in shown if isinstance(text, str) and text)


@pytest.mark.parametrize("part", ["panel", "inspector"])
def test_every_text_is_found_or_translated(part: str, bench: Any) -> None:
    german = replace(bench.server, words=lambda: words_in("de_DE"))
    with gr.Blocks() as blocks:
        if part == "panel":
            accordion = partial(accordion_with_box, words=german.words())
            build_panel(accordion, lambda name: name, german, PageInputs())
        else:
            build_inspector(german)
    english = [text for text in texts_on(blocks) if text != "LoRAtorio" and not is_german(text)]
    assert english == []
    assert len(list(texts_on(blocks))) > 5


def is_german(text: str) -> bool:
    """By the page (the whole text is in the file), or by the server (a translation, maybe with values)."""
    said = text.removeprefix("🔄 ")
    return text in TEXTS or any(re.fullmatch(pattern(one), said) for one in TEXTS.values())


def pattern(translated: str) -> str:
    return ".+".join(re.escape(part) for part in re.split(r"\{\w+\}", translated))
