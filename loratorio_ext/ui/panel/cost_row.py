"""The cost line on the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.settings import SETTINGS
from loratorio_ext.ui.overtaking import answers_overtake
from loratorio_ext.ui.panel.around import Around
from loratorio_ext.ui.panel.controls import html_block, html_with_id
from loratorio_ext.ui.panel.cost import cost_of, count_of_pool
from loratorio_ext.ui.panel.pool_picker import PoolPicker
from loratorio_ext.ui.panel.preset_row import PresetRow

BUTTON_CLASS = "loratorio-estimate"
"""By this ``javascript/loratorio.js`` finds the button, which it presses while the user types."""

_PLACE_OF_POOL = [one.name for one in SETTINGS].index("pool")


class CostRow:
    """The line, and a button that brings it up to date."""

    def __init__(self, server: Server, elem_id: Callable[[str], str], words: Words) -> None:
        """Build it inside the current block."""
        self._id = elem_id("cost")
        start = cost_of(server, Around(), [one.default for one in SETTINGS])
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
        self,
        server: Server,
        around: Around,
        controls: Sequence[Any],
        presets: PresetRow,
        picker: PoolPicker,
    ) -> None:
        """Keep the line, the preset's name and the pool's count current.

        Args:
            server: asked anew.
            around: components around the panel.
            controls: the panel's, in the order of the settings.
            presets: the list of presets.
            picker: shows the number of the pool's networks.
        """
        places = len(around.inputs)

        def answer(listed: object, *values: object) -> list[Any]:
            own = values[places:]
            return [
                gr.update(value=html_with_id(cost_of(server, around, values), self._id)),
                picker.counted(count_of_pool(server, own[_PLACE_OF_POOL])),
                *presets.following(server, listed, own),
            ]

        inputs = [presets.listed, *around.inputs, *controls]
        outputs = [self._line, picker.count, *presets.parts]
        self._button.click(answer, inputs, outputs, queue=False, show_progress="hidden")
        # The prompt changes with every key; javascript/loratorio.js waits for the end of a word.
        watched = [one for one in around.inputs if one is not around.prompt]
        for control in (*watched, *controls):
            changed = control.change(answer, inputs, outputs, queue=False, show_progress="hidden")
            if answers_overtake():
                changed.then(answer, inputs, outputs, queue=False, show_progress="hidden")
