"""The inspector's controls, for gradio 3.41 to 6: only what all of them have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.context import Context

from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.ui.gradio_tools import not_saved, on_change
from loratorio_ext.ui.inspector.answers import Controls, Page, files_of, page_of
from loratorio_ext.ui.inspector.selection import STRENGTH

Event = tuple[Callable[..., list[Any]], list[Any], list[Any]]
"""(what answers, its inputs, its outputs)."""


def build_inspector(
    server: Server, elem_prefix: str = "loratorio_inspector", words: Words | None = None
) -> Event:
    """Build the inspector inside the current gradio Blocks; gives the event that shows the newest run.

    Args:
        server: asked anew at every event.
        elem_prefix: with what all elements' ids begin.
        words: the language of labels and help; English in a WebUI, which translates its page itself and
            writes labels into a file of start values. What the server answers is in the server's language.
    """
    words, page = words or Words(), page_of(server, Controls())

    def dropdown(name: str, choices: Sequence[str], value: str | None, **more: Any) -> Any:
        """A list whose entries mean nothing for the next run."""
        elem_id = f"{elem_prefix}_{name}"
        return not_saved(gr.Dropdown(list(choices), value=value, interactive=True, elem_id=elem_id, **more))

    def slider(name: str, most: float, value: float, step: float, label: str, info: str) -> Any:
        more = {"label": label, "info": info, "interactive": True, "elem_id": f"{elem_prefix}_{name}"}
        return gr.Slider(0, most, value=value, step=step, min_width=260, **more)

    with gr.Row():
        run = dropdown(
            "run",
            page.runs,
            page.run,
            label=words("Run"),
            info=words("Number, time and first words of the prompt; the newest comes first."),
            scale=4,
        )
        refresh = gr.Button(
            # A WebUI's page leaves texts with such a sign alone (javascript/localization.js).
            "🔄 " + server.words()("Refresh and show the newest run"),
            scale=1,
            min_width=200,
            elem_id=f"{elem_prefix}_refresh",
        )
    with gr.Row():
        picture = dropdown(
            "picture",
            page.pictures,
            page.picture,
            label=words("Picture"),
            info=words("Which picture of the run to look at."),
        )
        sampling_pass = dropdown(
            "pass",
            page.passes,
            page.sampling_pass,
            label=words("Pass"),
            info=words(
                "The picture was drawn in several passes, for example a hires pass. Which one to look at."
            ),
            visible=len(page.passes) > 1,
        )
    with gr.Row():
        about = words("Which step to look at. 0: the mean over all steps.")
        step = not_saved(slider("step", page.last_step, page.step, 1, words("Step"), about))
        about = words("How strongly the colors cover the picture. 0: the picture alone. 1: colors on grey.")
        strength = slider("strength", 1, STRENGTH, 0.05, words("Strength of colors"), about)
    html = gr.HTML(value=page.html, elem_classes=[f"{elem_prefix}_view"])
    about = words("Make files to download: the report, and the pictures as shown")
    make = gr.Button(about, elem_id=f"{elem_prefix}_make_files")
    hidden = {"interactive": False, "visible": False, "elem_id": f"{elem_prefix}_files"}
    files = gr.File(label=words("Files"), file_count="multiple", **hidden)
    choice = [run, picture, sampling_pass, step, strength]
    shown = [run, picture, sampling_pass, step, html, files]

    def newest(strength: object) -> list[Any]:
        return updates_of(page_of(server, Controls(strength=strength)))

    def follow(*values: object) -> list[Any]:
        return updates_of(page_of(server, Controls(*values)))

    def draw(*values: object) -> Any:
        return gr.update(value=page_of(server, Controls(*values)).html)

    def write(*values: object) -> Any:
        paths = files_of(server, Controls(*values))
        return gr.update(value=paths or None, visible=bool(paths))

    refresh.click(newest, [strength], shown, queue=False)
    # What the program sets is no input: only the user's own choice starts another round.
    for one in (run, picture, sampling_pass):
        one.input(follow, choice, shown, queue=False)
    # Change, not release: the keyboard moves sliders too.
    for one in (step, strength):
        on_change(one, draw, choice, [html])
    make.click(write, choice, [files], queue=False)
    # A page that is opened later than it was built shows what was done in between.
    if Context.root_block is not None:
        Context.root_block.load(newest, [strength], shown, queue=False)
    return newest, [strength], shown


def updates_of(page: Page) -> list[Any]:
    """A page as gradio's updates of run, picture, pass, step, view and files."""
    return [
        gr.update(choices=list(page.runs), value=page.run),
        gr.update(choices=list(page.pictures), value=page.picture),
        gr.update(choices=list(page.passes), value=page.sampling_pass, visible=len(page.passes) > 1),
        gr.update(maximum=page.last_step, value=page.step),
        gr.update(value=page.html),
        gr.update(value=None, visible=False),
    ]
