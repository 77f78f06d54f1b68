"""The panel's layout and events, for gradio 3.41 to 6: only what all of them have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr

from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.settings import SETTINGS
from loratorio_ext.ui.panel.around import Around
from loratorio_ext.ui.panel.controls import control_for
from loratorio_ext.ui.panel.cost_row import CostRow
from loratorio_ext.ui.panel.from_infotext import FromInfotext
from loratorio_ext.ui.panel.pool_picker import PoolPicker
from loratorio_ext.ui.panel.preset_row import OwnPresets, PresetRow

# What most people change stands in front; the rest under "Advanced".
FRONT = ("top_k", "patch_size", "recenter", "temperature")
_SWITCH = SETTINGS[0]
_POOL = "pool"


@dataclass(frozen=True)
class Panel:
    """The controls.

    Attributes:
        controls: in the order of ``SETTINGS``, as the script's arguments.
        infotext_fields: (control, its value by all keys of an infotext), as the WebUI takes them.
        paste_fields: what "Send to" carries along: the second parts of ``infotext_fields``.
    """

    controls: list[Any]
    infotext_fields: list[tuple[Any, FromInfotext]]

    @property
    def paste_fields(self) -> list[FromInfotext]:
        """See above."""
        return [field for _, field in self.infotext_fields]


def build_panel(
    accordion: Callable[..., Any],
    elem_id: Callable[[str], str],
    server: Server,
    around: Around,
    words: Words | None = None,
) -> Panel:
    """Build the controls inside the current gradio block.

    Args:
        accordion: the host's InputAccordion, an accordion with a check box.
        elem_id: makes an element's id, different in txt2img and img2img, from a setting's name.
        server: asked anew at every event.
        around: components of the page that are there already.
        words: the language of labels and help; English in a WebUI, which translates its page itself.
    """
    words = words or Words()
    controls: dict[str, Any] = {}
    left = {one.name: one for one in SETTINGS[1:]}

    def add(name: str) -> None:
        controls[name] = control_for(left.pop(name), elem_id(name), words)

    with accordion(False, label="LoRAtorio", elem_id=elem_id(_SWITCH.name)) as controls[_SWITCH.name]:
        with gr.Row():
            for name in FRONT:
                add(name)
        presets = PresetRow(server, elem_id, words)
        cost = CostRow(server, elem_id, words)
        with gr.Accordion(words("Pool: networks without a tag"), open=False, elem_id=elem_id("pool_part")):
            picker = PoolPicker(server, elem_id, words)
            add(_POOL)
        with gr.Accordion(words("Advanced"), open=False, elem_id=elem_id("advanced")):
            for name in tuple(left):
                add(name)
        with gr.Accordion(words("Presets of your own"), open=False, elem_id=elem_id("own_presets")):
            own = OwnPresets(server, elem_id, words)
    ordered = [controls[one.name] for one in SETTINGS]
    cost.connect(server, around, ordered, presets, picker)
    presets.connect(server, ordered)
    picker.connect(server, controls[_POOL])
    own.connect(server, ordered, presets)
    fields = [(control, FromInfotext(one)) for one, control in zip(SETTINGS, ordered, strict=True)]
    return Panel(ordered, fields)
