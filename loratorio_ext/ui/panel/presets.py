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
from loratorio_ext.ui.gradio_tools import QUIET, html_block, html_with_id, not_saved


class PresetRow:
    """A drop-down list that sets several controls at once.

    Attributes:
        name: the list; it names the preset whose values the controls have, if there is one.
        listed: the names that the list has on this page, kept by gradio for each page by itself.
    """

    def __init__(self, server: Server, elem_id: Callable[[str], str], words: Words) -> None:
        """Build it inside the current block."""
        self._server = server
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
                elem_id=elem_id("preset"),
            )
        )

    @property
    def parts(self) -> list[Any]:
        """What `following` updates."""
        return [self.name, self.listed]

    def following(self, listed: object, values: Sequence[object]) -> list[Any]:
        """Updates of ``parts``; another page may have saved a preset.

        Args:
            listed: the value of the attribute of this name; None: the list gets the names in any case.
            values: of the panel's controls, in the order of the settings.
        """
        names = list(self._server.presets.all())
        # gradio 4 leaves only the chosen name in a list that gets names while it is open.
        choices = {} if names == listed else {"choices": names}
        return [gr.update(value=preset_of(self._server, values), **choices), names]

    def connect(self, controls: Sequence[Any]) -> None:
        """``controls``: the panel's, in the order of the settings."""
        all_controls = {one.name: control for one, control in zip(SETTINGS, controls, strict=True)}
        names = [one.name for one in PRESET_SETTINGS]

        def choose(name: object) -> list[Any]:
            preset = self._server.presets.all().get(str(name))
            if preset is None:  # deleted in another window
                return [gr.update() for _ in names]
            return [gr.update(value=preset[one]) for one in names]

        # What the program sets is no input: only the user's own choice sets controls.
        self.name.input(choose, [self.name], [all_controls[one] for one in names], **QUIET)


class OwnPresets:
    """Saving and deleting presets."""

    def __init__(self, server: Server, elem_id: Callable[[str], str], words: Words) -> None:
        """Build it inside the current block."""
        self._server = server
        can_save = server.presets.can_save
        with gr.Row(equal_height=False):
            self._name = not_saved(
                gr.Textbox(
                    label=words("Name"),
                    # With its number it is no text that a WebUI's page would find in a language file.
                    info=server.words()(
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
        self._id = elem_id("preset_said")
        self._said = html_block("", self._id)

    def connect(self, controls: Sequence[Any], presets: PresetRow) -> None:
        """``controls``: the panel's; ``presets``: the list that follows."""

        def answer(action: Callable[[str, Sequence[object]], str]) -> Callable[..., list[Any]]:
            def click(name: object, *values: object) -> list[Any]:
                try:
                    said = action(str(name or "").strip(), values)
                except ValueError as error:
                    said = str(error)
                except OSError:
                    said = self._server.words()(
                        "The file of presets cannot be written; check the folder's permissions."
                    )
                html = html_with_id(f'<p role="status">{escape(said)}</p>', self._id)
                return [gr.update(value=html), *presets.following(None, values)]

            return click

        inputs, outputs = [self._name, *controls], [self._said, *presets.parts]
        self._save.click(answer(self._save_as), inputs, outputs, **QUIET)
        self._delete.click(answer(self._delete_named), inputs, outputs, **QUIET)

    def _save_as(self, name: str, values: Sequence[object]) -> str:
        self._server.presets.save(name, settings_from_arguments(values))
        return self._server.words()("Saved as {name}.", name=name)

    def _delete_named(self, name: str, values: Sequence[object]) -> str:
        self._server.presets.delete(name)
        return self._server.words()("{name} is deleted.", name=name)


def preset_of(server: Server, values: Sequence[object]) -> str | None:
    """The name of the preset that has the values of the panel's controls, or None."""
    try:
        chosen = settings_from_arguments(values).to_dict()
    except ValueError:
        return None
    wanted = {one.name: chosen[one.name] for one in PRESET_SETTINGS}
    return next((name for name, preset in server.presets.all().items() if dict(preset) == wanted), None)
