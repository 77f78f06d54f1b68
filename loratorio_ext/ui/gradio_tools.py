"""What all pages need of gradio: components of settings, and what versions 3.41 to 6 do differently."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import gradio as gr

from loratorio_ext.server.options import OPTIONS, option_key
from loratorio_ext.setting import Setting

QUIET: Final[Mapping[str, Any]] = MappingProxyType({"queue": False, "show_progress": "hidden"})
"""Arguments of an event whose answer is there at once."""


def on_changes(
    button: Any, events: Sequence[Any], answer: Callable[..., Any], inputs: list[Any], outputs: list[Any]
) -> Any:
    """Let ``answer`` follow a button and events of controls, as slider.change; gives the button's event.

    One request at a time, and one more for what came meanwhile: of two the earlier could be answered last.
    """
    data, ask = f"document.getElementById('{button.elem_id}').dataset", asking(button.elem_id)
    begin = f"(...values) => {{ {data}.asked = 1; return values.slice(0, {len(inputs)}); }}"
    end = f"() => {{ const one = {data}; delete one.asked; one.again && delete one.again && ({ask})(); }}"
    clicked = button.click(answer, inputs, outputs, **QUIET, **script(button.click, begin))
    for done in (getattr(clicked, name) for name in ("then", "failure") if hasattr(clicked, name)):
        done(None, **script(done, end))
    for event in events:
        event(None, **script(event, ask))
    return clicked


def asking(elem_id: str) -> str:
    """JavaScript that asks what `on_changes` with this button answers, once gradio has taken values in."""
    find = f"const one = document.getElementById('{elem_id}')"
    act = "one?.dataset.asked ? (one.dataset.again = 1) : one?.click()"
    return f"() => {{ setTimeout(() => {{ {find}; {act}; }}, 100); }}"


def script(event: Callable[..., Any], text: str) -> dict[str, Any]:
    """The argument of an event that brings JavaScript; gradio 3 calls it _js."""
    return accepted(event, js=text, _js=text)


def accepted(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """Those of ``arguments`` that ``function`` names among its parameters; not all versions have the same."""
    return {
        name: value for name, value in arguments.items() if name in inspect.signature(function).parameters
    }


def not_saved(component: Any) -> Any:
    """The component, whose start value a WebUI doesn't write into its file of start values."""
    component.do_not_save_to_config = True
    return component


class HtmlBlock:
    """A gr.HTML whose content stands in an element with the id; the component has it as a class.

    gradio 3 gives the component's own id to two elements.
    """

    def __init__(self, html: str, elem_id: str) -> None:
        self._id = elem_id
        self.component = not_saved(gr.HTML(value=self._with_id(html), elem_classes=[elem_id]))

    def showing(self, html: str) -> Any:
        """The update that shows other HTML."""
        return gr.update(value=self._with_id(html))

    def _with_id(self, html: str) -> str:
        return f'<div id="{self._id}">{html}</div>'


def component_of(setting: Setting) -> tuple[Any, dict[str, Any]]:
    """The component that fits a setting's type and range, and its arguments for these."""
    if setting.type is bool:
        return gr.Checkbox, {}
    if setting.choices:
        return gr.Radio, {"choices": list(setting.choices)}
    if setting.type is str:
        return gr.Textbox, {}
    lowest, highest = setting.usable or (setting.minimum, setting.maximum)
    return gr.Slider, {"minimum": lowest, "maximum": highest, "step": setting.step}


def showing(setting: Setting | None, value: Any) -> Any:
    """The update that shows a value, None: as it is; a slider is made long enough for one beyond its ends."""
    if value is None:
        return gr.update()
    if setting is None or setting.usable is None or setting.usable[0] <= value <= setting.usable[1]:
        return gr.update(value=value)
    lowest, highest = setting.usable
    return gr.update(value=value, minimum=min(lowest, value), maximum=max(highest, value))


def add_options(opts: Any, option_info: Callable[..., Any]) -> None:
    """Add every option to the settings page of a WebUI: ``modules.shared.opts`` and its ``OptionInfo``."""
    for option in OPTIONS:
        section = ("loratorio", "LoRAtorio")
        info = option_info(option.default, option.label, *component_of(option), section=section)
        opts.add_option(option_key(option.name), info.info(option.help))
