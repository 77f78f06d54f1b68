"""What the controls do."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any, Final

import gradio as gr
from gradio.context import Context

from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.ui.gradio_tools import QUIET, accepted
from loratorio_ext.ui.inspector.tab import Event
from loratorio_ext.ui.page.controls import LONG_LIST, PromptControls, Results, SamplingControls, panel_id
from loratorio_ext.ui.page.generator import (
    PASTED,
    Drawn,
    Facts,
    job_of,
    names_like,
    read_pasted,
    with_tag_toggled,
)
from loratorio_ext.ui.page.runs import Finished, Progress, Runs
from loratorio_ext.ui.panel.build import Panel

logger = logging.getLogger("loratorio")
# The bar moves this often; a model of seconds a step is slower anyway.
_SECONDS_BETWEEN_NEWS: Final = 0.1
# What the program writes into the prompt is no typing, which javascript/loratorio.js waits for.
# A moment later: gradio hands a new prompt to the page's controls after the event has ended.
_SHOW_COST: Final = (
    f"() => {{ setTimeout(() => document.getElementById('{panel_id('estimate')}')?.click(), 100); }}"
)
# When a page is opened its button is not there at once.
_SHOW_COST_SOON: Final = f"() => {{ setTimeout({_SHOW_COST}, 500); }}"
# Browsers have a clipboard at https and on the same computer alone.
_COPY: Final = """(text) => {
    if (navigator.clipboard) {
        navigator.clipboard.writeText(text);
        return;
    }
    const box = document.body.appendChild(document.createElement("textarea"));
    box.value = text;
    box.select();
    document.execCommand("copy");
    box.remove();
}"""


_MOST_KEYS: Final = 20


def connect_lists(
    controls: PromptControls, examples: Any, sampling: SamplingControls, server: Server
) -> None:
    """Clicks on networks and examples write the prompt; the panel's cost follows what the program writes."""

    def toggle(prompt: object, sample: Sequence[object]) -> str:
        name = str(sample[0])
        return with_tag_toggled(str(prompt or ""), name, server.triggers(name).meant)

    def find(wanted: object) -> Any:
        return gr.update(samples=[[name] for name in names_like(server.networks(), str(wanted or ""))])

    def refresh() -> list[Any]:
        server.refresh()
        names = list(server.networks())
        return [
            gr.update(value="", visible=len(names) > LONG_LIST),
            gr.update(samples=[[name] for name in names]),
        ]

    toggled = controls.networks.click(
        toggle, [controls.prompt, controls.networks], [controls.prompt], **QUIET
    )
    for event in (toggled, examples):
        if event is not None:
            event.then(None, js=_SHOW_COST)
    for one in (sampling.steps, sampling.cfg):
        one.change(None, js=_SHOW_COST)
    if Context.root_block is not None:
        Context.root_block.load(None, js=_SHOW_COST_SOON)
    controls.find.input(find, [controls.find], [controls.networks], **QUIET)
    controls.refresh.click(refresh, None, [controls.find, controls.networks], **QUIET)


def connect_run(
    prompt: PromptControls,
    sampling: SamplingControls,
    panel: Panel,
    results: Results,
    newest: Event,
    runs: Runs,
    facts: Facts,
    words: Words,
) -> None:
    """Generate and stop; a run ends with what the inspector shows of it, by ``newest``."""
    texts = gr.State([])
    # Not gr.State, which is read when a run begins: each run must come with the ticket of its own click.
    ticket_name = gr.Textbox(visible=False)
    values = [prompt.prompt, prompt.negative, *sampling.all, *panel.controls]
    shown = [results.status, prompt.stop, results.gallery, results.infotext, texts]

    def ask(request: gr.Request) -> list[Any]:
        name = runs.ask(_session(request))
        if name is None:
            return _unchanged(3)
        return [_said(words("Waiting for the model …")), gr.update(interactive=True), name]

    def draw(request: gr.Request, name: object, *values: object) -> Iterator[list[Any]]:
        ticket = runs.begin(_session(request), name)
        if ticket is None:
            return
        begun = told = time.monotonic()
        try:
            for event in runs.draw(job_of(values, facts), ticket):
                if isinstance(event, Finished):
                    text = _finished(event, time.monotonic() - begun, words)
                    yield [text, gr.update(interactive=False), *_pictures(event.drawn, words)]
                elif event.step == 0 or time.monotonic() - told >= _SECONDS_BETWEEN_NEWS:
                    told = time.monotonic()
                    yield [_progress(event, words), *_unchanged(4)]
        except ValueError as error:
            yield [_failed(str(error)), gr.update(interactive=False), *_unchanged(3)]
        except Exception as error:
            logger.exception("a run of the page failed")
            text = words("Failed: {reason}", reason=f"{type(error).__name__}: {error}")
            yield [_failed(text), gr.update(interactive=False), *_unchanged(3)]
        finally:
            runs.end(_session(request))

    def settle(request: gr.Request, name: object) -> list[Any]:
        # gradio checks values before it calls `draw`, and says itself what it refuses.
        if not runs.give_up(_session(request), name):
            return _unchanged(2)
        text = words("Nothing was drawn: a value was refused. Correct it and press Generate again.")
        return [_failed(text), gr.update(interactive=False)]

    def stop(request: gr.Request) -> Any:
        runs.stop(_session(request))
        # The status is left to the run: an answer from here may come after its last word.
        return gr.update(interactive=False)

    def choose(kept: Sequence[str], event: gr.SelectData) -> str:
        place = event.index if isinstance(event.index, int) else 0
        return kept[place] if place < len(kept) else ""

    one_at_a_time = accepted(prompt.generate.click, concurrency_limit=1, concurrency_id="draw")
    for trigger in (prompt.generate.click, prompt.prompt.submit):
        asked = trigger(ask, None, [results.status, prompt.stop, ticket_name], **QUIET)
        drawn = asked.then(draw, [ticket_name, *values], shown, show_progress="hidden", **one_at_a_time)
        # After a failure the newest gradio goes on with `failure` alone, which gradio 4 does not know.
        failed = getattr(drawn, "failure", drawn.then)
        failed(settle, [ticket_name], [results.status, prompt.stop], **QUIET)
        drawn.then(*newest, **QUIET)
    prompt.stop.click(stop, None, [prompt.stop], **QUIET)
    results.copy.click(None, [results.infotext], None, js=_COPY)
    results.gallery.select(choose, [texts], [results.infotext], **QUIET)


def connect_paste(
    prompt: PromptControls,
    sampling: SamplingControls,
    panel: Panel,
    results: Results,
    facts: Facts,
    words: Words,
) -> None:
    """A pasted infotext fills in all controls."""
    own = [prompt.prompt, prompt.negative, *sampling.pasted]
    fields = panel.infotext_fields

    def fill(text: object) -> list[Any]:
        try:
            found = read_pasted(str(text or ""), facts, words)
        except ValueError as error:
            return [_failed(str(error)), *_unchanged(len(own) + len(fields))]
        said = words("All controls are filled in.")
        if found.left_out:
            names = ", ".join(found.left_out[:_MOST_KEYS])
            names += " …" if len(found.left_out) > _MOST_KEYS else ""
            said = words(
                "Filled in, except for what this page does not have or cannot use: {names}.", names=names
            )
        values = [found.values[name] for name in PASTED] + [field(found.fields) for _, field in fields]
        return [_said(said), *(gr.update() if one is None else gr.update(value=one) for one in values)]

    outputs = [results.paste_status, *own, *(control for control, _ in fields)]
    filled = results.fill.click(fill, [results.paste], outputs, **QUIET)
    filled.then(None, js=_SHOW_COST)


def _session(request: gr.Request) -> str:
    return str(getattr(request, "session_hash", None) or "")


def _pictures(drawn: Sequence[Drawn], words: Words) -> list[Any]:
    """Gallery, infotext and all infotexts; as they were where no picture was finished."""
    if not drawn:
        return _unchanged(3)
    for one in drawn:
        one.image.info["parameters"] = one.infotext  # goes into the file that the gallery offers
    pairs = [(one.image, words("seed {seed}", seed=one.seed)) for one in drawn]
    gallery = gr.update(value=pairs, selected_index=0)
    return [gallery, drawn[0].infotext, [one.infotext for one in drawn]]


def _said(text: str) -> str:
    return f'<p role="status">{escape(text)}</p>'


def _failed(text: str) -> str:
    """Why there is no picture."""
    return f'<p class="loratorio-status-error" role="alert">{escape(text)}</p>'


def _progress(at: Progress, words: Words) -> str:
    """A run goes on, in words and as a bar."""
    where = words("Drawing picture {picture} of {pictures}", picture=at.picture, pictures=at.pictures)
    step = words("step {step} of {steps}", step=at.step, steps=at.steps)
    label = escape(words("Progress of this picture"))
    # Read out once a picture and not once a step: the bar says the steps to whoever asks.
    return (
        f'<p role="status">{escape(where)}<span aria-hidden="true"> · {escape(step)}</span></p>'
        f'<progress aria-label="{label}" max="{max(at.steps, 1)}" value="{at.step}"></progress>'
    )


def _finished(finished: Finished, seconds: float, words: Words) -> str:
    """A run is over: how it ended, and what the user should know."""
    count, at = len(finished.drawn), finished.stopped
    text = words("{count} pictures in {seconds} s.", count=count, seconds=f"{seconds:.1f}")
    if count == 1:
        text = words("1 picture in {seconds} s.", seconds=f"{seconds:.1f}")
    if at is not None:
        text = words(
            "Stopped in picture {picture} of {pictures}, at step {step} of {steps}; finished pictures "
            "kept: {count}.",
            **vars(at),
            count=count,
        )
    items = "".join(f"<li>{escape(note)}</li>" for note in finished.notes)
    return _said(text) + (f'<ul class="loratorio-status-notes">{items}</ul>' if items else "")


def _unchanged(count: int) -> list[Any]:
    return [gr.update() for _ in range(count)]
