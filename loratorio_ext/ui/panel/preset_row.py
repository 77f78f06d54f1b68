"""Presets on the page: choosing one, and keeping one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

import gradio as gr

from loratorio_ext.server.presets import LONGEST_NAME, PRESET_SETTINGS
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.settings import SETTINGS
from loratorio_ext.ui.panel.controls import html_block, html_with_id, not_kept
from loratorio_ext.ui.panel.cost import preset_of, settings_of


class PresetRow:
    """A drop-down list that sets several controls at once.

    Attributes:
        name: the list; it names the preset whose values the controls have, if there is one.
        listed: the names that the list has on this page, kept by gradio for each page by itself.
    """

    def __init__(self, server: Server, elem_id: Callable[[str], str], words: Words) -> None:
        """Build it inside the current block."""
        names = list(server.presets.all())
        self.listed = gr.State(names)
        self.name = not_kept(
            gr.Dropdown(
                choices=names,
                value=names[0],
                label=words("Preset"),
                info=words(
                    "Sets several controls at once. Balanced: the defaults. Fast: networks are evaluated at "
                    "every second step. Faithful to the paper: its own weights. Large pool: few of many "
                    "networks are kept. Empty when the controls match none."
                ),
                interactive=True,
                elem_id=elem_id("preset"),
            )
        )

    @property
    def parts(self) -> list[Any]:
        """What `following` updates."""
        return [self.name, self.listed]

    def following(self, server: Server, listed: object, values: Sequence[object]) -> list[Any]:
        """Updates of ``parts``.

        Args:
            server: asked anew; another page may have saved a preset.
            listed: the value of the attribute of this name; None: the list gets the names in any case.
            values: of the panel's controls, in the order of the settings.
        """
        names = list(server.presets.all())
        # gradio 4 leaves only the chosen name in a list that gets names while it is open.
        choices = {} if names == listed else {"choices": names}
        return [gr.update(value=preset_of(server, values), **choices), names]

    def connect(self, server: Server, controls: Sequence[Any]) -> None:
        """``controls``: the panel's, in the order of the settings."""
        set_by_preset = {one.name: control for one, control in _settings_and(controls)}

        def choose(name: object) -> list[Any]:
            preset = server.presets.all().get(str(name))
            if preset is None:  # deleted in another window
                return [gr.update() for _ in set_by_preset]
            return [gr.update(value=preset[one]) for one in set_by_preset]

        # What the program sets is no input: only the user's own choice sets controls.
        self.name.input(
            choose, [self.name], list(set_by_preset.values()), queue=False, show_progress="hidden"
        )


class OwnPresets:
    """Saving and deleting presets."""

    def __init__(self, server: Server, elem_id: Callable[[str], str], words: Words) -> None:
        """Build it inside the current block."""
        can_save = server.presets.can_save
        with gr.Row(equal_height=False):
            self._name = not_kept(
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
            self._save = gr.Button(
                words("Save preset"),
                elem_id=elem_id("save_preset"),
                interactive=can_save,
                size="sm",
                min_width=120,
            )
            self._delete = gr.Button(
                words("Delete preset"),
                elem_id=elem_id("delete_preset"),
                interactive=can_save,
                size="sm",
                min_width=120,
            )
        self._id = elem_id("preset_said")
        self._said = html_block("", self._id)

    def connect(self, server: Server, controls: Sequence[Any], presets: PresetRow) -> None:
        """``controls``: the panel's; ``presets``: the list that follows."""

        def save(name: object, *values: object) -> list[Any]:
            def action() -> str:
                server.presets.save(str(name or ""), settings_of(values))
                return server.words()("Saved as {name}.", name=str(name).strip())

            return [*self._said_of(server, action), *presets.following(server, None, values)]

        def delete(name: object, *values: object) -> list[Any]:
            def action() -> str:
                server.presets.delete(str(name or "").strip())
                return server.words()("{name} is deleted.", name=str(name).strip())

            return [*self._said_of(server, action), *presets.following(server, None, values)]

        inputs, outputs = [self._name, *controls], [self._said, *presets.parts]
        self._save.click(save, inputs, outputs, queue=False, show_progress="hidden")
        self._delete.click(delete, inputs, outputs, queue=False, show_progress="hidden")

    def _said_of(self, server: Server, action: Callable[[], str]) -> list[Any]:
        """Do it; the update of what is said below the buttons."""
        try:
            said = action()
        except ValueError as error:
            said = str(error)
        except OSError:
            said = server.words()("The file of presets cannot be written; look at the folder's permissions.")
        return [gr.update(value=html_with_id(f'<p role="status">{escape(said)}</p>', self._id))]


def _settings_and(controls: Sequence[Any]) -> list[tuple[Any, Any]]:
    kept = {one.name for one in PRESET_SETTINGS}
    return [(one, control) for one, control in zip(SETTINGS, controls, strict=True) if one.name in kept]
