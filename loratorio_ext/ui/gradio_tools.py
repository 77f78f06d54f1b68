"""What all pages need of gradio, and what its versions from 3.41 to 6 do differently."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import gradio as gr

QUIET: Final[Mapping[str, Any]] = MappingProxyType({"queue": False, "show_progress": "hidden"})
"""Arguments of an event whose answer is there at once."""


def on_change(
    control: Any, answer: Callable[..., Any], inputs: Sequence[Any], outputs: Sequence[Any]
) -> None:
    """Let ``answer`` follow every change of a control.

    In gradio 3 an earlier answer may arrive after a later one and stay; there, each is followed by one more
    for the values of that time. Later versions keep the order.
    """
    changed = control.change(answer, list(inputs), list(outputs), **QUIET)
    if str(gr.__version__).startswith("3."):
        changed.then(answer, list(inputs), list(outputs), **QUIET)


def accepted(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """Those of ``arguments`` that ``function`` names among its parameters; not all versions have the same."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in arguments.items() if name in known}


def not_saved(component: Any) -> Any:
    """The component, whose start value a WebUI doesn't write into its file of start values."""
    component.do_not_save_to_config = True
    return component


def html_with_id(html: str, elem_id: str) -> str:
    """HTML in an element with an id, for gr.HTML: gradio 3 gives that component's own id to two elements."""
    return f'<div id="{elem_id}">{html}</div>'


def html_block(html: str, elem_id: str) -> Any:
    """A gr.HTML whose content carries the id, as in `html_with_id`; the component has it as a class."""
    return not_saved(gr.HTML(value=html_with_id(html, elem_id), elem_classes=[elem_id]))
