"""The panel's controls and layout, for gradio 3.41 to 6: only what all of them have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import gradio as gr

from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.settings import INFOTEXT_PREFIX, SETTINGS, Setting, Value
from loratorio_ext.ui.gradio_tools import HtmlBlock, component_of
from loratorio_ext.ui.panel.cost import CostRow, PageInputs
from loratorio_ext.ui.panel.places import PlacePicker
from loratorio_ext.ui.panel.pool import PoolPicker
from loratorio_ext.ui.panel.presets import PresetControls

# Beside the presets: what a picture costs, and how strong the networks look. The rest is folded.
FRONT: Final = ("looks", "gain")
# What belongs together in one row, or one below the other where the panel is narrow.
ADVANCED: Final = (
    ("patch_size", "temperature", "recenter"),
    ("top_k", "top_k_scope", "score"),
    ("weighting", "compare"),
    ("start", "end", "batch_rows"),
)
# What looks have replaced, for those who set it before.
OLDER: Final = ("rescan", "reuse")
_SWITCH: Final = SETTINGS[0]
# Pixels: three side by side in the column of a WebUI.
_NARROWEST: Final = 140


@dataclass(frozen=True)
class FromInfotext:
    """A setting's value as a pasted infotext means it.

    Equal for the same setting, so that the WebUI finds the fields of one tab in the other.
    """

    setting: Setting

    def __call__(self, found: Mapping[str, str]) -> Value | None:
        """The value; None leaves the control as it is.

        For a key that is missing see `Setting.unnamed`; a picture made without LoRAtorio has no key at all,
        and only switches it off. What cannot be read sets the default.
        """
        if _SWITCH.infotext not in found:
            return False if self.setting is _SWITCH else None
        try:
            return self.setting.parse(found[self.setting.infotext])
        except KeyError:
            return self.setting.unnamed
        except ValueError:
            return self.setting.default


@dataclass(frozen=True)
class NotPasted:
    """What a pasted infotext says of LoRAtorio and the panel cannot use, in a block of its own."""

    block: HtmlBlock

    def __call__(self, found: Mapping[str, str]) -> Any:
        """The update that says it, and takes back what was said of an earlier one."""
        known, notes = {one.infotext: one for one in SETTINGS}, []
        for key in [one for one in found if one.startswith(INFOTEXT_PREFIX)][:64]:
            try:
                known[key].parse(found[key])
            except KeyError:  # noqa: PERF203 - a few keys
                notes.append(f"{key[:60]!r} is no setting here")
            except ValueError as error:
                notes.append(f"{error}; {known[key].default} is set")
        listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
        return self.block.showing(listed and f'<div class="loratorio-cost"><ul>{listed}</ul></div>')


@dataclass(frozen=True)
class Panel:
    """The controls.

    Attributes:
        controls: in the order of ``SETTINGS``, as the script's arguments.
        infotext_fields: (control, its value by all keys of an infotext), as the WebUI takes them.
        not_pasted: the same for what no control has.
    """

    controls: list[Any]
    infotext_fields: list[tuple[Any, FromInfotext]]
    not_pasted: tuple[Any, NotPasted]


def build_panel(
    accordion: Callable[..., Any],
    elem_id: Callable[[str], str],
    server: Server,
    page_inputs: PageInputs,
    words: Words | None = None,
) -> Panel:
    """Build the controls inside the current gradio block.

    Args:
        accordion: the host's InputAccordion, an accordion with a check box.
        elem_id: makes an element's id, different in txt2img and img2img, from a setting's name.
        server: asked anew at every event.
        page_inputs: inputs of the page that are there already.
        words: the language of labels and help; English in a WebUI, which translates its page itself.
    """
    words = words or Words()
    controls: dict[str, Any] = {}
    described = {one.name: one for one in SETTINGS}

    def add(*names: str) -> None:
        for setting in map(described.__getitem__, names):
            component, arguments = component_of(setting)
            controls[setting.name] = component(
                label=words(setting.label),
                info=words(setting.help),
                value=setting.default,
                elem_id=elem_id(setting.name),
                min_width=_NARROWEST,
                **arguments,
            )

    with (
        accordion(False, label="LoRAtorio", elem_id=elem_id(_SWITCH.name)) as controls[_SWITCH.name],
        gr.Column(elem_classes=["loratorio-panel"]),
    ):
        cost = CostRow(server, elem_id, words)
        left = NotPasted(HtmlBlock("", elem_id("not_pasted")))
        with gr.Row():
            presets = PresetControls(server, elem_id, words, _NARROWEST)
            add(*FRONT)
        # Side by side while both are folded (panel.css).
        with gr.Row(elem_classes=["loratorio-folds"]):
            with gr.Accordion(words("Places and steps"), open=False, elem_id=elem_id("places_part")):
                places = PlacePicker(server, elem_id, words)
            with gr.Accordion(words("Advanced"), open=False, elem_id=elem_id("advanced")):
                for names in ADVANCED:
                    with gr.Row():
                        add(*names)
                about_pool = words("Pool: networks without a tag")
                with gr.Accordion(about_pool, open=False, elem_id=elem_id("pool_part")):
                    picker = PoolPicker(server, elem_id, words)
                    add("pool", "pool_by")
                with gr.Accordion(words("Without looks"), open=False, elem_id=elem_id("older")), gr.Row():
                    add(*OLDER)
                with gr.Accordion(words("Presets of your own"), open=False, elem_id=elem_id("own_presets")):
                    presets.build_own()
    ordered = [controls[one.name] for one in SETTINGS]
    cost.connect(page_inputs, ordered, presets, picker, places)
    presets.connect(ordered)
    picker.connect(controls["pool"])
    presets.connect_own(ordered)
    fields = [(controls[one.name], FromInfotext(one)) for one in SETTINGS]
    return Panel(ordered, fields, (left.block.component, left))
