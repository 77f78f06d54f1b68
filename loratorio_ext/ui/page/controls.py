"""The controls of the page, except the panel's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import gradio as gr

from loratorio_ext.server.words import Words
from loratorio_ext.ui.page.drawing import Facts
from loratorio_ext.ui.page.versions import accepted
from loratorio_ext.ui.page.wish import LARGEST_CFG, MOST_PICTURES, MOST_STEPS

PREFIX: Final = "loratorio_page"
# The name by which javascript/loratorio.js finds the prompt in every WebUI.
PROMPT_ID: Final = "txt2img_prompt"
NEGATIVE_ID: Final = "txt2img_neg_prompt"
# By it javascript/loratorio.js knows the panel, as in a WebUI.
PANEL_PREFIX: Final = "script_txt2img_loratorio"
# Above this number a list is looked through by typing.
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
class Sampling:
    """How a picture is drawn."""

    steps: Any
    cfg: Any
    sampler: Any
    width: Any
    height: Any
    seed: Any
    pictures: Any

    @property
    def all(self) -> list[Any]:
        """In the order of `wish.wish_of`."""
        return [self.steps, self.cfg, self.sampler, self.width, self.height, self.seed, self.pictures]


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
        info=words("A part of its name."),
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
    refresh = gr.Button(words("Look at the folder of networks again"), size="sm", elem_id=f"{PREFIX}_refresh")
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
        label=words("Examples: a click takes one as the prompt"),
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
        label=words("Infotext of the picture"),
        lines=3,
        interactive=False,
        elem_id=f"{PREFIX}_infotext",
    )
    # Not the text box's own: that button stands inside the label and takes the text box's name away.
    copy = gr.Button(words("Copy infotext"), size="sm", elem_id=f"{PREFIX}_copy")
    with gr.Accordion(words("Paste infotext"), open=False, elem_id=f"{PREFIX}_paste_accordion"):
        paste = gr.Textbox(
            label=words("Infotext"),
            info=words("All lines of a picture's infotext, of this page or of a WebUI."),
            lines=4,
            elem_id=f"{PREFIX}_paste",
        )
        fill = gr.Button(words("Fill in all controls"), elem_id=f"{PREFIX}_fill")
        paste_status = gr.HTML(elem_id=f"{PREFIX}_paste_status", elem_classes=["loratorio-status"])
    return Results(status, gallery, infotext, copy, paste, fill, paste_status)


def build_sampling(facts: Facts, words: Words) -> Sampling:
    """Steps, guidance, sampler, size, seed and number of pictures."""
    with gr.Row():
        steps = gr.Slider(
            1, MOST_STEPS, value=facts.steps, step=1, label=words("Steps"), elem_id=f"{PREFIX}_steps"
        )
        cfg = gr.Slider(
            1, LARGEST_CFG, value=facts.cfg, step=0.1, label=words("CFG scale"), elem_id=f"{PREFIX}_cfg"
        )
    with gr.Row():
        sampler = gr.Dropdown(
            list(facts.samplers),
            value=facts.samplers[0],
            label=words("Sampler"),
            elem_id=f"{PREFIX}_sampler",
            min_width=180,
        )
        pictures = gr.Slider(
            1,
            MOST_PICTURES,
            value=1,
            step=1,
            label=words("Pictures"),
            elem_id=f"{PREFIX}_pictures",
            min_width=180,
        )
    with gr.Row():
        seed = gr.Number(
            value=-1, precision=0, label=words("Seed (-1: random)"), elem_id=f"{PREFIX}_seed", min_width=140
        )
        width, height = (
            gr.Number(
                value=side,
                precision=0,
                # Without bounds: gradio's own message goes away after a while, that of `wish_of` stays.
                step=facts.multiple,
                label=label,
                elem_id=f"{PREFIX}_{name}",
                min_width=90,
            )
            for side, label, name in zip(
                facts.size, (words("Width"), words("Height")), ("width", "height"), strict=True
            )
        )
    return Sampling(steps, cfg, sampler, width, height, seed, pictures)
