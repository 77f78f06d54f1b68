"""Choosing networks and folders for the pool from the host's own list."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import gradio as gr

from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.ui.panel.controls import html_block, html_with_id, not_kept
from loratorio_ext.ui.panel.pool_choices import picked, pool_choices, with_picked


class PoolPicker:
    """A list with search that writes into the text box of the setting.

    Attributes:
        count: where the number of networks stands.
    """

    def __init__(self, server: Server, elem_id: Callable[[str], str], words: Words) -> None:
        """Build it inside the current block."""
        with gr.Row(equal_height=False):
            self._list = not_kept(
                gr.Dropdown(
                    choices=pool_choices(server.networks()),
                    value=[],
                    multiselect=True,
                    label=words("Choose networks or folders"),
                    info=words("Type to search. A folder, such as characters/*, means all networks in it."),
                    interactive=True,
                    scale=4,
                    elem_id=elem_id("pool_list"),
                )
            )
            self._refresh = gr.Button(
                # A WebUI's page leaves texts with such a sign alone (javascript/localization.js).
                "🔄 " + server.words()("Read the folder again"),
                elem_id=elem_id("pool_refresh"),
                scale=0,
                size="sm",
                min_width=200,
            )
        self._id = elem_id("pool_count")
        self.count = html_block("", self._id)

    def counted(self, said: str) -> Any:
        """The update of ``count``."""
        return gr.update(value=html_with_id(escape(said), self._id))

    def connect(self, server: Server, text: Any) -> None:
        """``text``: the text box of the setting, which is what counts."""

        def choose(chosen: object, pool: object) -> Any:
            names = [str(one) for one in chosen] if isinstance(chosen, list) else []
            return gr.update(value=with_picked(_text(pool), names, pool_choices(server.networks())))

        def follow(pool: object) -> Any:
            return gr.update(value=picked(_text(pool), pool_choices(server.networks())))

        def refresh(pool: object) -> Any:
            server.refresh()
            choices = pool_choices(server.networks())
            return gr.update(choices=choices, value=picked(_text(pool), choices))

        # Only the user's own choice writes into the box, so that the two cannot set each other in turns.
        self._list.input(choose, [self._list, text], [text], queue=False, show_progress="hidden")
        text.change(follow, [text], [self._list], queue=False, show_progress="hidden")
        self._refresh.click(refresh, [text], [self._list], queue=False, show_progress="hidden")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
