"""The line that says before a run what it will cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from html import escape
from importlib import resources
from typing import Any, Final

import gradio as gr

from loratorio_ext.server.estimate import cost_line, estimate
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.settings import SETTINGS, settings_from_arguments
from loratorio_ext.ui.gradio_tools import QUIET, html_block, html_with_id, on_change
from loratorio_ext.ui.panel.inputs import PageInputs
from loratorio_ext.ui.panel.pool import PoolPicker, count_of_pool
from loratorio_ext.ui.panel.presets import PresetRow

BUTTON_CLASS: Final = "loratorio-estimate"
"""By this ``javascript/loratorio.js`` finds the button, which it presses while the user types."""

_PLACE_OF_POOL: Final = [one.name for one in SETTINGS].index("pool")
_WIDTH, _HEIGHT = 140, 28
# Thinner bars can't be told apart.
_MOST_BARS: Final = 70


class CostRow:
    """The line, and a button that brings it up to date."""

    def __init__(self, server: Server, elem_id: Callable[[str], str], words: Words) -> None:
        """Build it inside the current block."""
        self._server = server
        self._id = elem_id("cost")
        start = cost_of(server, PageInputs(), [one.default for one in SETTINGS])
        with gr.Row(equal_height=False):
            self._line = html_block(start, self._id)
            self._button = gr.Button(
                words("Show the cost"),
                elem_id=elem_id("estimate"),
                elem_classes=[BUTTON_CLASS],
                scale=0,
                size="sm",
                min_width=140,
            )

    def connect(
        self, page_inputs: PageInputs, controls: Sequence[Any], presets: PresetRow, picker: PoolPicker
    ) -> None:
        """Keep the line, the preset's name and the pool's count up to date.

        Args:
            page_inputs: inputs around the panel.
            controls: the panel's, in the order of the settings.
            presets: the list of presets.
            picker: shows the number of the pool's networks.
        """
        server, places = self._server, len(page_inputs.inputs)

        def answer(listed: object, *values: object) -> list[Any]:
            own = values[places:]
            return [
                gr.update(value=html_with_id(cost_of(server, page_inputs, values), self._id)),
                picker.counted(count_of_pool(server, own[_PLACE_OF_POOL])),
                *presets.following(listed, own),
            ]

        inputs = [presets.listed, *page_inputs.inputs, *controls]
        outputs = [self._line, picker.count, *presets.parts]
        self._button.click(answer, inputs, outputs, **QUIET)
        # The prompt changes with every key; javascript/loratorio.js waits for the end of a word.
        watched = [one for one in page_inputs.inputs if one is not page_inputs.prompt]
        for control in (*watched, *controls):
            on_change(control, answer, inputs, outputs)


def cost_of(server: Server, page_inputs: PageInputs, values: Sequence[object]) -> str:
    """The estimate as HTML: a sentence, a small picture of the steps, and what to expect.

    Args:
        server: asked anew.
        page_inputs: what stands around the panel.
        values: of ``page_inputs.inputs``, then of the panel's controls; anything gets an answer.
    """
    places = len(page_inputs.inputs)
    prompt, sampling = page_inputs.read(values[:places], server)
    words, obstacle = server.words(), server.obstacle()
    try:
        settings = settings_from_arguments(values[places:])
    except ValueError as error:
        return _html("", "", [str(error)])
    # The cost is known before the box is ticked.
    found = estimate(prompt, replace(settings, enabled=True), server.networks(), sampling, words)
    obstacles = [obstacle] if obstacle else []
    if not found.composed:
        sentence = words("No network to compose yet: name some in the prompt, such as <lora:name:1>.")
        return _html(sentence, "", obstacles, "quiet")
    sentence = cost_line(found, words)
    if not settings.enabled:
        sentence = words("Off. If switched on: {cost}", cost=sentence)
    bars = _bars(found.rows, found.plain_rows, words)
    return _html(sentence, bars, [*obstacles, *found.notes], "said" if settings.enabled else "quiet")


def _html(sentence: str, picture: str, notes: Iterable[str], look: str = "said") -> str:
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    style = resources.files(__package__).joinpath("panel.css").read_text("utf-8")
    said = f'<p class="{look}">{picture}<span>{escape(sentence)}</span></p>' if sentence else ""
    # javascript/loratorio.js makes what stands around it a live region: this is replaced as a whole.
    return f'<style>{style}</style><div class="loratorio-cost">{said}{listed and f"<ul>{listed}</ul>"}</div>'


def _bars(rows: Sequence[int], plain_rows: int, words: Words) -> str:
    """Predictions at each step as bars, the part of plain generation in another color."""
    shown = rows[:: -(-len(rows) // _MOST_BARS)]
    highest = max(*shown, plain_rows)
    width = _WIDTH / len(shown)

    def bar(place: int, value: int, name: str) -> str:
        height = _HEIGHT * value / highest
        return (
            f'<rect class="{name}" x="{place * width:.2f}" y="{_HEIGHT - height:.2f}" '
            f'width="{width * 0.8:.2f}" height="{height:.2f}"/>'
        )

    drawn = "".join(
        bar(place, value, "all") + bar(place, min(value, plain_rows), "plain")
        for place, value in enumerate(shown)
    )
    title = words("Predictions at each step; the lower part is what a plain generation takes")
    return (
        f'<svg role="img" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}">'
        f"<title>{escape(title)}</title>{drawn}</svg>"
    )
