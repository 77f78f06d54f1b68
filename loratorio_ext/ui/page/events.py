"""What the controls do."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import gradio as gr
from gradio.context import Context

from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.ui.gradio_tools import QUIET, accepted
from loratorio_ext.ui.inspector.tab import Inspector
from loratorio_ext.ui.page import status
from loratorio_ext.ui.page.controls import LONG_LIST, PromptControls, Results, SamplingControls, panel_id
from loratorio_ext.ui.page.generator import Drawn, Facts
from loratorio_ext.ui.page.jobs import PASTED, job_of, names_like, read_pasted, with_tag_toggled
from loratorio_ext.ui.page.runs import Finished, Runs
from loratorio_ext.ui.panel import Panel

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


@dataclass(frozen=True)
class BuiltPage:
    """The page, built and not yet connected."""

    prompt: PromptControls
    examples: Any
    sampling: SamplingControls
    results: Results
    panel: Panel
    inspector: Inspector


def connect(page: BuiltPage, server: Server, facts: Facts, runs: Runs) -> None:
    """Give every control its work."""
    words = server.words()
    _connect_lists(page, server)
    _connect_run(page, runs, facts, words)
    _connect_paste(page, facts, words)


def _connect_lists(page: BuiltPage, server: Server) -> None:
    controls = page.prompt

    def toggle(prompt: object, sample: Sequence[object]) -> str:
        return with_tag_toggled(str(prompt or ""), str(sample[0]))

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
    for event in (toggled, page.examples):
        if event is not None:
            event.then(None, js=_SHOW_COST)
    for one in (page.sampling.steps, page.sampling.cfg):
        one.change(None, js=_SHOW_COST)
    if Context.root_block is not None:
        Context.root_block.load(None, js=_SHOW_COST_SOON)
    controls.find.input(find, [controls.find], [controls.networks], **QUIET)
    controls.refresh.click(refresh, None, [controls.find, controls.networks], **QUIET)


def _connect_run(page: BuiltPage, runs: Runs, facts: Facts, words: Words) -> None:
    prompt, results, inspector = page.prompt, page.results, page.inspector
    texts = gr.State([])
    # Not gr.State, which is read when a run begins: each run must come with the ticket of its own click.
    ticket_name = gr.Textbox(visible=False)
    values = [prompt.prompt, prompt.negative, *page.sampling.all, *page.panel.controls]
    shown = [results.status, prompt.stop, results.gallery, results.infotext, texts]

    def ask(request: gr.Request) -> list[Any]:
        name = runs.ask(_session(request))
        if name is None:
            return _unchanged(3)
        return [status.said(words("Waiting for the model …")), gr.update(interactive=True), name]

    def draw(request: gr.Request, name: object, *values: object) -> Iterator[list[Any]]:
        ticket = runs.begin(_session(request), name)
        if ticket is None:
            return
        begun = told = time.monotonic()
        try:
            for event in runs.draw(job_of(values, facts), ticket):
                if isinstance(event, Finished):
                    text = status.finished_html(event, time.monotonic() - begun, words)
                    yield [text, gr.update(interactive=False), *_pictures(event.drawn, words)]
                elif event.step == 0 or time.monotonic() - told >= _SECONDS_BETWEEN_NEWS:
                    told = time.monotonic()
                    yield [status.progress_html(event, words), *_unchanged(4)]
        except ValueError as error:
            yield [status.failed(str(error)), gr.update(interactive=False), *_unchanged(3)]
        except Exception as error:
            logger.exception("a run of the page failed")
            text = words("Failed: {reason}", reason=f"{type(error).__name__}: {error}")
            yield [status.failed(text), gr.update(interactive=False), *_unchanged(3)]
        finally:
            runs.end(_session(request))

    def settle(request: gr.Request, name: object) -> list[Any]:
        # gradio checks values before it calls `draw`, and says itself what it refuses.
        if not runs.give_up(_session(request), name):
            return _unchanged(2)
        text = words("Nothing was drawn: a value was refused. Correct it and press Generate again.")
        return [status.failed(text), gr.update(interactive=False)]

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
        drawn.then(inspector.newest, inspector.inputs, inspector.outputs, **QUIET)
    prompt.stop.click(stop, None, [prompt.stop], **QUIET)
    results.copy.click(None, [results.infotext], None, js=_COPY)
    results.gallery.select(choose, [texts], [results.infotext], **QUIET)


def _connect_paste(page: BuiltPage, facts: Facts, words: Words) -> None:
    results = page.results
    own = [page.prompt.prompt, page.prompt.negative, *page.sampling.pasted]
    fields = page.panel.infotext_fields

    def fill(text: object) -> list[Any]:
        try:
            found = read_pasted(str(text or ""), facts, words)
        except ValueError as error:
            return [status.failed(str(error)), *_unchanged(len(own) + len(fields))]
        said = words("All controls are filled in.")
        if found.left_out:
            said = words(
                "Filled in, except for what this page does not have: {names}.",
                names=", ".join(found.left_out),
            )
        values = [found.values[name] for name in PASTED] + [field(found.fields) for _, field in fields]
        return [status.said(said), *(gr.update() if one is None else gr.update(value=one) for one in values)]

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


def _unchanged(count: int) -> list[Any]:
    return [gr.update() for _ in range(count)]
