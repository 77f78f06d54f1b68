"""The controls of the page, except the panel's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import gradio as gr

from loratorio_ext.server.words import Words
from loratorio_ext.ui.gradio_tools import QUIET, accepted
from loratorio_ext.ui.page.generator import Facts
from loratorio_ext.ui.page.jobs import LARGEST_CFG, MOST_PICTURES, MOST_STEPS

PREFIX: Final = "loratorio_page"
# The name by which javascript/loratorio.js finds the prompt in every WebUI.
PROMPT_ID: Final = "txt2img_prompt"
NEGATIVE_ID: Final = "txt2img_neg_prompt"
# By it javascript/loratorio.js knows the panel, as in a WebUI.
PANEL_PREFIX: Final = "script_txt2img_loratorio"
# A longer list can be searched by typing.
LONG_LIST: Final = 24


def panel_id(item: str) -> str:
    """The id of a part of the panel."""
    return f"{PANEL_PREFIX}_{item}"


@dataclass(frozen=True)
class PromptControls:
    """What is typed and clicked first."""

    prompt: Any
    negative: Any
    find: Any
    networks: Any
    refresh: Any
    generate: Any
    stop: Any


@dataclass(frozen=True)
class Results:
    """What comes back, and the box for what came back another day."""

    status: Any
    gallery: Any
    infotext: Any
    copy: Any
    paste: Any
    fill: Any
    paste_status: Any


@dataclass(frozen=True)
class SamplingControls:
    """How a picture is drawn."""

    steps: Any
    cfg: Any
    sampler: Any
    width: Any
    height: Any
    seed: Any
    pictures: Any

    @property
    def pasted(self) -> list[Any]:
        """Those that a pasted infotext fills in, in the order of `jobs.PASTED`."""
        return [self.steps, self.cfg, self.sampler, self.width, self.height, self.seed]

    @property
    def all(self) -> list[Any]:
        """In the order of `jobs.job_of`."""
        return [*self.pasted, self.pictures]


def build_prompt(facts: Facts, names: Sequence[str], words: Words) -> PromptControls:
    """Prompts, the list of networks, and the two buttons."""
    prompt = gr.Textbox(
        label=words("Prompt"),
        info=words("What to draw. A tag <lora:name:1> names a network and its strength."),
        lines=3,
        elem_id=PROMPT_ID,
        value=facts.examples[0] if facts.examples else "",
    )
    find = gr.Textbox(
        label=words("Find a network"),
        info=words("Part of its name."),
        visible=len(names) > LONG_LIST,
        elem_id=f"{PREFIX}_find",
    )
    networks = gr.Dataset(
        components=[gr.Textbox(visible=False)],
        samples=[[name] for name in names],
        label=words("Networks: a click puts the tag into the prompt, or takes it out"),
        samples_per_page=LONG_LIST,
        elem_id=f"{PREFIX}_networks",
    )
    refresh = gr.Button(words("Read the folder of networks again"), size="sm", elem_id=f"{PREFIX}_refresh")
    negative = gr.Textbox(label=words("Negative prompt"), lines=1, elem_id=NEGATIVE_ID)
    with gr.Row():
        generate = gr.Button(words("Generate"), variant="primary", scale=3, elem_id=f"{PREFIX}_generate")
        stop = gr.Button(
            words("Stop"), variant="stop", scale=1, min_width=90, interactive=False, elem_id=f"{PREFIX}_stop"
        )
    return PromptControls(prompt, negative, find, networks, refresh, generate, stop)


def build_examples(facts: Facts, prompt: Any, words: Words) -> Any:
    """Prompts to begin with, and the event of choosing one; None where the model has no examples."""
    if not facts.examples:
        return None
    examples = gr.Examples(
        examples=[[example] for example in facts.examples],
        inputs=[prompt],
        label=words("Examples: click one to use it as the prompt"),
        elem_id=f"{PREFIX}_examples",
        cache_examples=False,
    )
    return examples.load_input_event


def build_results(words: Words) -> Results:
    """Status, pictures, and the text below them."""
    status = gr.HTML(elem_id=f"{PREFIX}_status", elem_classes=["loratorio-status"])
    gallery = gr.Gallery(
        label=words("Pictures"),
        columns=4,
        height=420,
        object_fit="contain",
        format="png",
        preview=True,
        interactive=False,
        elem_id=f"{PREFIX}_gallery",
        # Sharing would send pictures to somebody else's server.
        **accepted(gr.Gallery.__init__, show_share_button=False, buttons=["download", "fullscreen"]),
    )
    infotext = gr.Textbox(
        label=words("Infotext of the picture"), lines=3, interactive=False, elem_id=f"{PREFIX}_infotext"
    )
    # Not the text box's own: that button stands inside the label and takes the text box's name away.
    copy = gr.Button(words("Copy infotext"), size="sm", elem_id=f"{PREFIX}_copy")
    with gr.Accordion(words("Paste infotext"), open=False, elem_id=f"{PREFIX}_paste_accordion"):
        paste = gr.Textbox(
            label=words("Infotext"),
            info=words("All lines of a picture's infotext, from this page or from a WebUI."),
            lines=4,
            elem_id=f"{PREFIX}_paste",
        )
        fill = gr.Button(words("Fill in all controls"), elem_id=f"{PREFIX}_fill")
        paste_status = gr.HTML(elem_id=f"{PREFIX}_paste_status", elem_classes=["loratorio-status"])
    return Results(status, gallery, infotext, copy, paste, fill, paste_status)


def build_sampling(facts: Facts, words: Words) -> SamplingControls:
    """Steps, guidance, sampler, size, seed and number of pictures."""

    def slider(most: float, value: float, step: float, label: str, name: str, **more: Any) -> Any:
        return gr.Slider(1, most, value=value, step=step, label=label, elem_id=f"{PREFIX}_{name}", **more)

    def number(value: int, label: str, name: str, **more: Any) -> Any:
        return gr.Number(value=value, precision=0, label=label, elem_id=f"{PREFIX}_{name}", **more)

    with gr.Row():
        steps = slider(MOST_STEPS, facts.steps, 1, words("Steps"), "steps")
        cfg = slider(LARGEST_CFG, facts.cfg, 0.1, words("CFG scale"), "cfg")
    with gr.Row():
        sampler = gr.Dropdown(
            list(facts.samplers),
            value=facts.samplers[0],
            label=words("Sampler"),
            elem_id=f"{PREFIX}_sampler",
            min_width=180,
        )
        pictures = slider(MOST_PICTURES, 1, 1, words("Pictures"), "pictures", min_width=180)
    with gr.Row():
        seed = number(-1, words("Seed (-1: random)"), "seed", min_width=140)
        # Sides without bounds: gradio's own message goes away after a while, that of `job_of` stays.
        side: dict[str, Any] = {"step": facts.multiple, "min_width": 90}
        width = number(facts.size[0], words("Width"), "width", **side)
        height = number(facts.size[1], words("Height"), "height", **side)
    return SamplingControls(steps, cfg, sampler, width, height, seed, pictures)


@contextmanager
def accordion_with_box(value: bool, *, label: str, elem_id: str, words: Words) -> Iterator[Any]:
    """Yields a check box, inside the accordion that it opens and closes, as the WebUI's InputAccordion.

    Args:
        value: whether it is ticked at first.
        label: of the box.
        elem_id: of the box; the accordion's is that with ``_accordion`` behind it.
        words: the language.
    """
    box = gr.Checkbox(
        value=value,
        label=label,
        info=words("On: the networks are composed. Off: they are merged, the usual way."),
        elem_id=elem_id,
    )
    title = words("Settings of {name}", name=label)
    with gr.Accordion(title, open=value, elem_id=f"{elem_id}_accordion") as folded:
        yield box
    box.change(lambda ticked: gr.update(open=bool(ticked)), [box], [folded], **QUIET)
