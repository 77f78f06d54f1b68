"""The panel under the prompt: one control for each setting."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from loratorio_ext.settings import SETTINGS, Setting, Value

# What most people change stands in front, two in a row; the rest under "Advanced".
FRONT = (("top_k", "patch_size"), ("recenter", "temperature"))
_SWITCH = SETTINGS[0]
# A slider over more than this many orders of magnitude can't be set by hand.
_WIDEST_SLIDER = 1e4


@dataclass(frozen=True)
class FromInfotext:
    """A setting's value as a pasted infotext means it.

    Equal for the same setting, so that the WebUI finds the fields of one tab in the other.
    """

    setting: Setting

    def __call__(self, found: Mapping[str, str]) -> Value | None:
        """The value; None leaves the control as it is.

        A key that is missing means the default, since defaults are not written down; a picture made without
        LoRAtorio has no key at all, and only switches it off. What cannot be read is taken as missing.
        """
        if _SWITCH.infotext not in found:
            return False if self.setting is _SWITCH else None
        try:
            return self.setting.parse(found[self.setting.infotext])
        except (KeyError, ValueError):
            return self.setting.default


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


def build_panel(accordion: Callable[..., Any], elem_id: Callable[[str], str]) -> Panel:
    """Build the controls inside the current gradio block.

    Args:
        accordion: the host's InputAccordion, an accordion with a check box.
        elem_id: makes an element's id, different in txt2img and img2img, from a setting's name.
    """
    controls: dict[str, Any] = {}
    by_name = {one.name: one for one in SETTINGS}
    switch = by_name.pop(_SWITCH.name)
    with accordion(False, label="LoRAtorio", elem_id=elem_id(switch.name)) as controls[switch.name]:
        for row in FRONT:
            with gr.Row():
                for name in row:
                    controls[name] = _control(by_name.pop(name), elem_id)
        with gr.Accordion("Advanced", open=False, elem_id=elem_id("advanced")):
            for setting in by_name.values():
                controls[setting.name] = _control(setting, elem_id)
    ordered = [controls[one.name] for one in SETTINGS]
    fields = [(control, FromInfotext(one)) for one, control in zip(SETTINGS, ordered, strict=True)]
    return Panel(ordered, fields)


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
