"""The inspector's controls, for gradio 3.41 to 6: only what all of them have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.context import Context

from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.ui.inspector.answers import Controls, Page, files_of, html_of, page_of
from loratorio_ext.ui.inspector.looked import Choice
from loratorio_ext.ui.overtaking import answers_overtake


@dataclass(frozen=True)
class _Tab:
    """The components; see `build_inspector`."""

    run: Any
    refresh: Any
    picture: Any
    sampling_pass: Any
    step: Any
    strength: Any
    html: Any
    make: Any
    files: Any

    @property
    def choice(self) -> list[Any]:
        """Inputs of every event, in the order of `Controls`."""
        return [self.run, self.picture, self.sampling_pass, self.step, self.strength]

    @property
    def shown(self) -> list[Any]:
        """Outputs of an event that changes what can be chosen, in the order of `updates_of`."""
        return [self.run, self.picture, self.sampling_pass, self.step, self.html, self.files]


@dataclass(frozen=True)
class Inspector:
    """How a page shows the newest run when there is one: an event with these."""

    newest: Callable[..., list[Any]]
    inputs: list[Any]
    outputs: list[Any]


def build_inspector(
    server: Server, elem_prefix: str = "loratorio_inspector", words: Words | None = None
) -> Inspector:
    """Build the inspector inside the current gradio Blocks.

    Args:
        server: asked anew at every event.
        elem_prefix: with what all elements' ids begin.
        words: the language of labels and help; English in a WebUI, which translates its page itself and
            writes labels into a file of start values. What the server answers is in the server's language.
    """
    return _connect(_build(server, elem_prefix, words or Words()), server)


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


def _build(server: Server, prefix: str, words: Words) -> _Tab:
    page = page_of(server, Controls())
    with gr.Row():
        run = gr.Dropdown(
            choices=list(page.runs),
            value=page.run,
            label=words("Run"),
            info=words("Number, time and first words of the prompt; the newest stands first."),
            interactive=True,
            scale=4,
            elem_id=f"{prefix}_run",
        )
        refresh = gr.Button(
            # A WebUI's page leaves texts with such a sign alone (javascript/localization.js).
            "🔄 " + server.words()("Refresh and show the newest run"),
            scale=1,
            min_width=200,
            elem_id=f"{prefix}_refresh",
        )
    with gr.Row():
        picture = gr.Dropdown(
            choices=list(page.pictures),
            value=page.picture,
            label=words("Picture"),
            info=words("Which picture of the run to look at."),
            interactive=True,
            elem_id=f"{prefix}_picture",
        )
        sampling_pass = gr.Dropdown(
            choices=list(page.passes),
            value=page.sampling_pass,
            label=words("Pass"),
            info=words(
                "The picture was drawn in several passes, such as a hires pass; which one to look at."
            ),
            interactive=True,
            visible=len(page.passes) > 1,
            elem_id=f"{prefix}_pass",
        )
    with gr.Row():
        step = gr.Slider(
            minimum=0,
            maximum=page.last_step,
            step=1,
            value=page.step,
            label=words("Step"),
            info=words("Which step to look at. 0: the mean over all steps."),
            interactive=True,
            min_width=260,
            elem_id=f"{prefix}_step",
        )
        strength = gr.Slider(
            minimum=0,
            maximum=1,
            step=0.05,
            value=Choice().strength,
            label=words("Strength of colors"),
            info=words("How much the colors cover the picture. 0: the picture alone. 1: colors on grey."),
            interactive=True,
            min_width=260,
            elem_id=f"{prefix}_strength",
        )
    html = gr.HTML(value=page.html, elem_classes=[f"{prefix}_view"])
    make = gr.Button(
        words("Make files to download: the report, and the pictures as shown"), elem_id=f"{prefix}_make_files"
    )
    files = gr.File(
        label=words("Files"),
        file_count="multiple",
        interactive=False,
        visible=False,
        elem_id=f"{prefix}_files",
    )
    for one in (run, picture, sampling_pass, step):
        # The WebUI writes start values into a file; those of one run mean nothing for the next.
        one.do_not_save_to_config = True
    return _Tab(run, refresh, picture, sampling_pass, step, strength, html, make, files)


def _connect(tab: _Tab, server: Server) -> Inspector:
    def newest(strength: object) -> list[Any]:
        return updates_of(page_of(server, Controls(strength=strength)))

    def follow(*values: object) -> list[Any]:
        return updates_of(page_of(server, Controls(*values)))

    def draw(*values: object) -> Any:
        return gr.update(value=html_of(server, Controls(*values)))

    def write(*values: object) -> Any:
        paths = files_of(server, Controls(*values))
        return gr.update(value=paths or None, visible=bool(paths))

    tab.refresh.click(newest, [tab.strength], tab.shown, queue=False)
    # What the program sets is no input: only the user's own choice starts another round.
    for one in (tab.run, tab.picture, tab.sampling_pass):
        one.input(follow, tab.choice, tab.shown, queue=False)
    # Change, not release: the keyboard moves sliders too. Answers of gradio 3 may overtake each other, so
    # each is followed by one for the values that the sliders have by then; later ones keep the order.
    for one in (tab.step, tab.strength):
        moved = one.change(draw, tab.choice, [tab.html], queue=False, show_progress="hidden")
        if answers_overtake():
            moved.then(draw, tab.choice, [tab.html], queue=False, show_progress="hidden")
    tab.make.click(write, tab.choice, [tab.files], queue=False)
    # A page that is opened later than it was built shows what was done in between.
    if Context.root_block is not None:
        Context.root_block.load(newest, [tab.strength], tab.shown, queue=False)
    return Inspector(newest, [tab.strength], tab.shown)
