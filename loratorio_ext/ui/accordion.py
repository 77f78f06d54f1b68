"""The panel under the prompt: one control for each setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from loratorio_ext.settings import SETTINGS, Setting

# What most people change stands in front, the rest under "Advanced".
FRONT = ("top_k", "patch_size", "recenter", "temperature")
# A slider over more than this many orders of magnitude can't be set by hand.
_WIDEST_SLIDER = 1e4


@dataclass(frozen=True)
class Panel:
    """The controls.

    Attributes:
        controls: in the order of ``SETTINGS``, as the script's arguments.
        infotext_fields: (control, infotext key or a function of all fields), as the WebUI takes them.
    """

    controls: list[Any]
    infotext_fields: list[tuple[Any, str | Callable[[Mapping[str, str]], Any]]]


def build_panel(accordion: Callable[..., Any], elem_id: Callable[[str], str]) -> Panel:
    """Build the controls inside the current gradio block.

    Args:
        accordion: the host's InputAccordion, an accordion with a check box.
        elem_id: makes an element's id, different in txt2img and img2img, from a setting's name.
    """
    controls: dict[str, Any] = {}
    by_name = {one.name: one for one in SETTINGS}
    switch = by_name.pop("enabled")
    with accordion(False, label="LoRAtorio", elem_id=elem_id(switch.name)) as controls[switch.name]:
        with gr.Row():
            for name in FRONT:
                controls[name] = _control(by_name.pop(name), elem_id)
        with gr.Accordion("Advanced", open=False, elem_id=elem_id("advanced")):
            for setting in by_name.values():
                controls[setting.name] = _control(setting, elem_id)
    ordered = [controls[one.name] for one in SETTINGS]
    fields: list[tuple[Any, str | Callable[[Mapping[str, str]], Any]]] = [
        (control, one.infotext) for one, control in zip(SETTINGS, ordered, strict=True) if one is not switch
    ]
    # A picture made without LoRAtorio has no key at all, and must switch it off.
    return Panel(ordered, [(controls[switch.name], lambda found: switch.infotext in found), *fields])


def _control(setting: Setting, elem_id: Callable[[str], str]) -> Any:
    common = {
        "label": setting.label,
        "info": setting.help,
        "value": setting.default,
        "elem_id": elem_id(setting.name),
    }
    if setting.type is bool:
        return gr.Checkbox(**common)
    if setting.choices:
        return gr.Radio(choices=list(setting.choices), **common)
    if setting.type is str:
        return gr.Textbox(**common)
    lowest, highest = setting.minimum, setting.maximum
    if lowest is not None and highest is not None and 0 < lowest * _WIDEST_SLIDER < highest:
        return gr.Number(**common)
    return gr.Slider(minimum=lowest, maximum=highest, step=setting.step, **common)
