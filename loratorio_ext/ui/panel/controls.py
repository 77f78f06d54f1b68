"""One control for one setting."""

from __future__ import annotations

from typing import Any

import gradio as gr

from loratorio_ext.server.words import Words
from loratorio_ext.settings import Setting

# A slider over more than this many orders of magnitude can't be set by hand.
_WIDEST_SLIDER = 1e4
# One below the other in a narrow column, since help beside a number is hard to read; four in a wide window.
_NARROWEST = 320  # pixels


def control_for(setting: Setting, elem_id: str, words: Words) -> Any:
    """The gradio component that fits the setting's type and range, with its label and help."""
    common = {
        "label": words(setting.label),
        "info": words(setting.help),
        "value": setting.default,
        "elem_id": elem_id,
    }
    if setting.type is bool:
        return gr.Checkbox(**common)
    if setting.choices:
        return gr.Radio(choices=list(setting.choices), **common)
    if setting.type is str:
        return gr.Textbox(**common)
    lowest, highest = setting.minimum, setting.maximum
    if lowest is not None and highest is not None and 0 < lowest * _WIDEST_SLIDER < highest:
        return gr.Number(**common, min_width=_NARROWEST)
    return gr.Slider(minimum=lowest, maximum=highest, step=setting.step, **common, min_width=_NARROWEST)


def html_with_id(html: str, elem_id: str) -> str:
    """HTML in an element with an id, for gr.HTML: gradio 3 gives that component's own id to two elements."""
    return f'<div id="{elem_id}">{html}</div>'


def html_block(html: str, elem_id: str) -> Any:
    """A gr.HTML whose content carries the id (see above); the component has it as a class."""
    return not_kept(gr.HTML(value=html_with_id(html, elem_id), elem_classes=[elem_id]))


def not_kept(component: Any) -> Any:
    """The component, whose start value a WebUI doesn't write into its file of start values."""
    component.do_not_save_to_config = True
    return component
