"""The controls of the page, except the panel's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import gradio as gr

from loratorio_ext.server.words import Words
from loratorio_ext.ui.gradio_tools import accepted
from loratorio_ext.ui.page.generator import LARGEST_CFG, LARGEST_HIRES_SCALE, MOST_PICTURES, MOST_STEPS, Facts

PREFIX: Final = "loratorio_page"
# A longer list can be searched by typing.
LONG_LIST: Final = 24


def panel_id(item: str) -> str:
    """The id of a part of the panel, by which javascript/loratorio.js knows it, as in a WebUI."""
    return f"script_txt2img_loratorio_{item}"


class PromptControls:
    """The prompt, the list of networks, and the two buttons."""

    def __init__(self, facts: Facts, names: Sequence[str], words: Words) -> None:
        """Build them inside the current block; ``names``: of networks."""
        self.prompt = gr.Textbox(
            label=words("Prompt"),
            placeholder=words("What to draw. A tag <lora:name:1> names a network and its strength."),
            lines=3,
            elem_id="txt2img_prompt",  # by it javascript/loratorio.js finds the prompt in every WebUI
            value=facts.examples[0] if facts.examples else "",
        )
        with gr.Row():
            self.generate = gr.Button(
                words("Generate"), variant="primary", scale=3, elem_id=f"{PREFIX}_generate"
            )
            look: dict[str, Any] = {"variant": "stop", "scale": 1, "min_width": 90}
            self.stop = gr.Button(words("Stop"), interactive=False, elem_id=f"{PREFIX}_stop", **look)
        self.find = gr.Textbox(
            label=words("Find a network"),
            info=words("Part of its name."),
            visible=len(names) > LONG_LIST,
            elem_id=f"{PREFIX}_find",
        )
        self.networks = gr.Dataset(
            components=[gr.Textbox(visible=False)],
            samples=[[name] for name in names],
            label=words("Networks: a click puts the tag into the prompt, or takes it out"),
            samples_per_page=LONG_LIST,
            elem_id=f"{PREFIX}_networks",
        )


class Results:
    """Status, pictures, the text below them, and the box for what came back another day."""

    def __init__(self, words: Words) -> None:
        """Build them inside the current block."""
        self.status = gr.HTML(elem_id=f"{PREFIX}_status", elem_classes=["loratorio-status"])
        self.gallery = gr.Gallery(
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
        self.infotext = gr.Textbox(
            label=words("Infotext of the picture"), lines=3, interactive=False, elem_id=f"{PREFIX}_infotext"
        )
        with gr.Row():
            # Not the text box's own: that button stands inside the label and takes the text box's name away.
            small: dict[str, Any] = {"size": "sm", "min_width": 120}
            self.copy = gr.Button(words("Copy infotext"), elem_id=f"{PREFIX}_copy", **small)
            self.use = gr.Button(words("Use as start picture"), elem_id=f"{PREFIX}_use", **small)
        with gr.Accordion(words("Paste infotext"), open=False, elem_id=f"{PREFIX}_paste_accordion"):
            self.paste = gr.Textbox(
                label=words("Infotext"),
                info=words(
                    "All lines of a picture's infotext, from this page or from a WebUI. Or drop the picture "
                    "itself, a PNG, anywhere on this page."
                ),
                lines=4,
                elem_id=f"{PREFIX}_paste",
            )
            self.fill = gr.Button(words("Fill in all controls"), elem_id=f"{PREFIX}_fill")
            self.paste_status = gr.HTML(elem_id=f"{PREFIX}_paste_status", elem_classes=["loratorio-status"])
        # Written by page.js.
        self.dropped = gr.Textbox(
            label=words("Infotext"), elem_id=f"{PREFIX}_dropped", lines=2, elem_classes=["loratorio-unseen"]
        )


class SamplingControls:
    """Negative prompt, steps, guidance, sampler, size, seed, number of pictures, img2img and Hires. fix.

    Attributes:
        negative: the negative prompt.
        start: the picture to start from; start_part: the fold that it is in.
        size: width and height.
        passes: what `panel.cost.PageInputs` asks about a picture to start from and the hires pass.
        pasted: those that a pasted infotext fills in, in the order of `generator.PASTED`.
        sampler: the list of samplers.
        of_model: those that another model has other values for.
        all: in the order of `generator.job_of`.
    """

    def __init__(self, facts: Facts, words: Words) -> None:
        """Build them inside the current block."""

        def slider(
            most: float, value: float, step: float, label: str, name: str, least: float = 1, **more: Any
        ) -> Any:
            more |= {"step": step, "label": label, "elem_id": f"{PREFIX}_{name}"}
            return gr.Slider(least, most, value=value, **more)

        def number(value: int, label: str, name: str, **more: Any) -> Any:
            # Whole ones by `job_of`, which says what is wrong: gradio would round without a word.
            return gr.Number(value=value, label=label, elem_id=f"{PREFIX}_{name}", **more)

        self.negative = gr.Textbox(label=words("Negative prompt"), lines=1, elem_id="txt2img_neg_prompt")
        with gr.Row():
            self.steps = slider(MOST_STEPS, facts.steps, 1, words("Steps"), "steps")
            self.cfg = slider(LARGEST_CFG, facts.cfg, 0.1, words("CFG scale"), "cfg")
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
        strength = words("Denoising strength")
        # Side by side while both are folded (panel.css).
        with gr.Row(elem_classes=["loratorio-folds"]):
            self.start_part = gr.Accordion(
                words("Start picture (img2img)"), open=False, elem_id=f"{PREFIX}_start_part"
            )
            with self.start_part:
                self.start = gr.Image(
                    label=words("Start picture"),
                    sources=["upload", "clipboard"],
                    type="filepath",
                    image_mode=None,  # as it was sent: what is to be read of it is decided by `job_of`
                    height=180,
                    elem_id=f"{PREFIX}_start",
                    **accepted(gr.Image.__init__, show_share_button=False, buttons=[]),
                )
                start_strength = slider(1, 0.75, 0.05, strength, "strength", least=0)
            with gr.Accordion("Hires. fix", open=False, elem_id=f"{PREFIX}_hires_part"), gr.Row():
                narrow: dict[str, Any] = {"min_width": 140}
                hires_scale = slider(
                    LARGEST_HIRES_SCALE, 1, 0.05, words("Upscale by (1: off)"), "hires_scale", **narrow
                )
                hires_steps = slider(
                    MOST_STEPS, 0, 1, words("Hires steps (0: as Steps)"), "hires_steps", least=0, **narrow
                )
                hires_strength = slider(1, 0.7, 0.05, strength, "hires_strength", least=0, **narrow)
        self.size = [width, height]
        self.of_model = [self.steps, self.cfg, sampler, *self.size]
        self.sampler = sampler
        hires = [hires_scale, hires_steps, hires_strength]
        self.pasted = [*self.of_model, seed, start_strength, *hires]
        self.all = [*self.pasted, pictures, self.start]
        self.passes = [self.start, start_strength, *hires[:2]]


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


@contextmanager
def accordion_with_box(_value: bool, *, label: str, elem_id: str, words: Words) -> Iterator[Any]:
    """Yields a check box above the panel, in the place of a WebUI's InputAccordion; here nothing is folded.

    The box begins ticked, whatever is asked for: whoever opens this page wants to see networks composed.

    Args:
        label: of the box.
        elem_id: of the box; what is around box and panel has ``_accordion`` at its end.
        words: the language.
    """
    about = words("On: the networks are composed. Off: they are merged, the usual way.")
    with gr.Column(elem_id=f"{elem_id}_accordion"):
        yield gr.Checkbox(value=True, label=label, info=about, elem_id=elem_id)
