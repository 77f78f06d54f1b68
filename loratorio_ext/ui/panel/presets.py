"""Presets on the page: choosing one, and keeping one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import gradio as gr

from loratorio_ext.server.presets import LONGEST_NAME, PRESET_SETTINGS
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.settings import SETTINGS, settings_from_arguments
from loratorio_ext.ui.gradio_tools import QUIET, HtmlBlock, not_saved, showing


class PresetControls:
    """A drop-down list that sets several controls at once, and what saves and deletes presets.

    Attributes:
        name: the list; it names the preset whose values the controls have, if there is one.
        listed: the names that the list has on this page, kept by gradio for each page by itself.
        parts: both; what `following` updates.
    """

    def __init__(self, server: Server, elem_id: Callable[[str], str], words: Words, min_width: int) -> None:
        """Build the list inside the current block; ``min_width`` in pixels."""
        self._server, self._elem_id, self._words = server, elem_id, words
        names = list(server.presets.all())
        self.listed = gr.State(names)
        self.name = not_saved(
            gr.Dropdown(
                choices=names,
                value=names[0],
                label=words("Preset"),
                info=words(
                    "Sets several controls at once. Balanced: the defaults. Fast: a single look. Every step: "
                    "every network is evaluated at every step. Faithful to the paper: its own weights, at "
                    "every step. Large pool: only a few of many networks are kept. Empty when the controls "
                    "match none."
                ),
                interactive=True,
                min_width=min_width,
                elem_id=elem_id("preset"),
            )
        )
        self.parts = [self.name, self.listed]

    def build_own(self) -> None:
        """Build what saves and deletes presets inside the current block."""
        elem_id, words, can_save = self._elem_id, self._words, self._server.presets.can_save
        with gr.Row(equal_height=False):
            self._own = not_saved(
                gr.Textbox(
                    label=words("Name"),
                    # With its number it is no text that a WebUI's page would find in a language file.
                    info=self._server.words()(
                        "Saves the controls as they are now, without the pool, under this name of at most "
                        "{length} characters.",
                        length=LONGEST_NAME,
                    ),
                    max_lines=1,
                    interactive=can_save,
                    elem_id=elem_id("own_preset_name"),
                )
            )
            self._save, self._delete = (
                gr.Button(label, elem_id=elem_id(name), interactive=can_save, size="sm", min_width=120)
                for label, name in (
                    (words("Save preset"), "save_preset"),
                    (words("Delete preset"), "delete_preset"),
                )
            )
        self._said = HtmlBlock("", elem_id("preset_said"))

    def following(self, listed: object, values: Sequence[object]) -> list[Any]:
        """Updates of ``parts`` from the value of ``listed`` and the values of the panel's controls, in order.

        Another page may have saved a preset. Where ``listed`` is None, the list gets the names in any case.
        """
        names = list(self._server.presets.all())
        # gradio 4 leaves only the chosen name in a list that gets names while it is open.
        choices = {} if names == listed else {"choices": names}
        return [gr.update(value=preset_of(self._server, values), **choices), names]

    def connect(self, controls: Sequence[Any]) -> None:
        """Let the list set the panel's controls, which are in the order of the settings."""

        def choose(name: object) -> list[Any]:
            preset = self._server.presets.all().get(str(name))
            if preset is None:  # deleted in another window
                return [gr.update() for _ in PRESET_SETTINGS]
            return [showing(one, preset[one.name]) for one in PRESET_SETTINGS]

        follow = [control for one, control in zip(SETTINGS, controls, strict=True) if one in PRESET_SETTINGS]
        # What the program sets is no input: only the user's own choice sets controls.
        self.name.input(choose, [self.name], follow, **QUIET)

    def connect_own(self, controls: Sequence[Any]) -> None:
        """Let the buttons save the values of the panel's controls under a name, and delete that name."""
        presets, words = self._server.presets, self._server.words

        def save(name: str, values: Sequence[object]) -> str:
            presets.save(name, settings_from_arguments(values))
            return words()("Saved as {name}.", name=name)

        def delete(name: str, values: Sequence[object]) -> str:
            presets.delete(name)
            return words()("{name} is deleted.", name=name)

        def answer(action: Callable[[str, Sequence[object]], str]) -> Callable[..., list[Any]]:
            def click(name: object, *values: object) -> list[Any]:
                try:
                    said = action(str(name or "").strip(), values)
                except ValueError as error:
                    said = str(error)
                except OSError:
                    said = words()("The file of presets cannot be written; check the folder's permissions.")
                html = f'<p role="status">{escape(said)}</p>'
                return [self._said.showing(html), *self.following(None, values)]

            return click

        for button, action in ((self._save, save), (self._delete, delete)):
            outputs = [self._said.component, *self.parts]
            button.click(answer(action), [self._own, *controls], outputs, **QUIET)


def preset_of(server: Server, values: Sequence[object]) -> str | None:
    """The name of the preset that has the values of the panel's controls, or None."""
    try:
        chosen = settings_from_arguments(values).to_dict()
    except ValueError:
        return None
    wanted = {one.name: chosen[one.name] for one in PRESET_SETTINGS}
    return next((name for name, preset in server.presets.all().items() if dict(preset) == wanted), None)
