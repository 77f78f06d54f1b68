"""LoRAtorio's part of the WebUI's settings page, made from the options."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import gradio as gr

from loratorio_ext.server.options import OPTIONS, option_key
from loratorio_ext.setting import Setting

SECTION: Final = ("loratorio", "LoRAtorio")


def add_options(opts: Any, option_info: Callable[..., Any]) -> None:
    """Add every option to the page.

    Args:
        opts: the WebUI's options (``modules.shared.opts``).
        option_info: its class ``OptionInfo`` (modules/options.py).
    """
    for option in OPTIONS:
        component, arguments = _component(option)
        info = option_info(option.default, option.label, component, arguments, section=SECTION)
        opts.add_option(option_key(option.name), info.info(option.help))


def _component(option: Setting) -> tuple[Any, dict[str, Any]]:
    if option.type is bool:
        return gr.Checkbox, {}
    if option.choices:
        return gr.Radio, {"choices": list(option.choices)}
    return gr.Slider, {"minimum": option.minimum, "maximum": option.maximum, "step": option.step}
