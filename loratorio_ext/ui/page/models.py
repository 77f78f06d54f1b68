"""The list of models to choose from, where there are several."""

from __future__ import annotations

from typing import Any

import gradio as gr
from gradio.context import Context

from loratorio_ext.server.words import Words
from loratorio_ext.ui.gradio_tools import QUIET
from loratorio_ext.ui.page.controls import PREFIX
from loratorio_ext.ui.page.events import Drawing
from loratorio_ext.ui.page.generator import Facts, Generator
from loratorio_ext.ui.page.runs import Runs
from loratorio_ext.ui.page.status import failed, said


def build_models(facts: Facts, words: Words) -> Any:
    """A list of models to choose from; None where there is one alone."""
    if not facts.models:
        return None
    return gr.Dropdown(
        choices=list(facts.models), value=facts.name, label=words("Model"), elem_id=f"{PREFIX}_model"
    )


def connect_models(model: Any, drawing: Drawing, runs: Runs, generator: Generator, words: Words) -> None:
    """Another model draws, and the controls that depend on it follow."""
    outputs = [drawing.results.status, model, *drawing.sampling.of_model]

    def wait(name: object) -> str:
        return said(words("Opening {name} …", name=str(name)))

    def choose(name: object) -> list[Any]:
        problem = ""
        try:
            runs.choose(str(name))
        except ValueError as error:
            problem = failed(str(error))
        return [problem, *_suited(generator.facts)]

    def now() -> list[Any]:
        facts = generator.facts
        return [gr.update(value=facts.name), gr.update(choices=list(facts.samplers))]

    waiting = model.input(wait, [model], [drawing.results.status], **QUIET)
    waiting.then(choose, [model], outputs, show_progress="hidden")
    if Context.root_block is not None:
        # A page that is opened later than it was built: values are left to what it has kept.
        Context.root_block.load(now, None, [model, drawing.sampling.sampler], **QUIET)


def _suited(facts: Facts) -> list[Any]:
    """Updates of the list of models, and of steps, CFG scale, sampler, width and height."""
    sampler = gr.update(choices=list(facts.samplers), value=facts.samplers[0])
    sides = [gr.update(value=side, step=facts.multiple) for side in facts.size]
    return [
        gr.update(value=facts.name),
        gr.update(value=facts.steps),
        gr.update(value=facts.cfg),
        sampler,
        *sides,
    ]
