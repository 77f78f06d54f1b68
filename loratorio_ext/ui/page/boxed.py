"""An accordion with a check box, as the WebUI's InputAccordion."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from loratorio_ext.server.words import Words


@contextmanager
def boxed_accordion(value: bool, *, label: str, elem_id: str, words: Words) -> Iterator[Any]:
    """Yields the check box, inside the accordion that it opens and closes.

    Args:
        value: whether it is ticked at first.
        label: of the box.
        elem_id: of the box; the accordion's is that with ``_accordion`` behind it.
        words: the language.
    """
    box = gr.Checkbox(
        value=value,
        label=label,
        info=words("On: the networks are composed. Off: they are merged, the usual way."),
        elem_id=elem_id,
    )
    title = words("Settings of {name}", name=label)
    with gr.Accordion(title, open=value, elem_id=f"{elem_id}_accordion") as folded:
        yield box
    box.change(
        lambda ticked: gr.update(open=bool(ticked)), [box], [folded], queue=False, show_progress="hidden"
    )
