"""What the controls do."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import gradio as gr
from gradio.context import Context
from PIL import Image

from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.settings import SETTINGS
from loratorio_ext.ui.gradio_tools import QUIET, accepted, asking, showing
from loratorio_ext.ui.inspector.tab import Event
from loratorio_ext.ui.page.controls import LONG_LIST, PromptControls, Results, SamplingControls, panel_id
from loratorio_ext.ui.page.generator import (
    PASTED,
    Drawn,
    Generator,
    job_of,
    names_like,
    read_kept,
    with_tag_toggled,
)
from loratorio_ext.ui.page.pasted import read_pasted
from loratorio_ext.ui.page.runs import Finished, Progress, Runs, Ticket
from loratorio_ext.ui.page.status import failed, finished_run, progress, said
from loratorio_ext.ui.panel.build import Panel

logger = logging.getLogger("loratorio")
# The bar moves this often; more keeps a slow computer's browser from doing anything else.
_SECONDS_BETWEEN_NEWS: Final = 0.3
_MOST_KEYS: Final = 20
# What the program writes into the prompt is no typing, which javascript/loratorio.js waits for.
_SHOW_COST: Final = asking(panel_id("estimate"))
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
# page.js keeps what is set, and what the page calls itself by, when the page is loaded again.
_KEEP: Final = "(...values) => { window.loratorioPage?.keep(values); }"
_KEPT: Final = "() => [window.loratorioPage?.session() ?? '', window.loratorioPage?.kept() ?? '']"
_NAMED: Final = "() => [window.loratorioPage?.session() ?? '']"
# What has been changed since the page was opened stays; only what still has its default gets the kept value.
_RESTORE: Final = """(news, ...values) => {
    const [kept, defaults] = JSON.parse(news || "[[], []]");
    window.loratorioPage?.begin();
    return values.map((one, place) => ((one ?? "") === defaults[place] ? kept[place] ?? one : one));
}"""
_SESSION: Final = "(name, ...values) => [window.loratorioPage?.session() ?? name, ...values]"


@dataclass(frozen=True)
class Drawing:
    """The parts of the page that a run is made of, and the inspector's event that shows the newest run."""

    prompt: PromptControls
    sampling: SamplingControls
    panel: Panel
    results: Results
    newest: Event

    @property
    def values(self) -> list[Any]:
        """All controls, in the order of `generator.job_of`."""
        own = [self.prompt.prompt, self.sampling.negative, *self.sampling.all]
        return [*own, *self.panel.controls]

    @property
    def shown(self) -> list[Any]:
        """What a run changes."""
        return [self.results.status, self.prompt.stop, self.results.gallery, self.results.infotext]


def connect_lists(controls: PromptControls, refresh: Any, examples: Any, server: Server) -> None:
    """Clicks on networks and examples write the prompt; the panel's cost follows what the program writes."""

    def toggle(prompt: object, sample: Sequence[object]) -> str:
        name = str(sample[0])
        return with_tag_toggled(str(prompt or ""), name, server.triggers(name).meant)

    def find(wanted: object) -> Any:
        return gr.update(samples=[[name] for name in names_like(server.networks(), str(wanted or ""))])

    def read_again() -> list[Any]:
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
    controls.find.input(find, [controls.find], [controls.networks], **QUIET)
    refresh.click(read_again, None, [controls.find, controls.networks], **QUIET)


def connect_run(drawing: Drawing, runs: Runs, generator: Generator, words: Words) -> None:
    """Generate and stop; a run ends with what the inspector shows of it, and goes on without its page."""
    prompt, results = drawing.prompt, drawing.results
    texts = gr.State([])
    # Not gr.State, which is read when a run begins: each run must come with the ticket of its own click.
    ticket_name = gr.Textbox(visible=False)
    session = gr.Textbox(visible=False)
    kept, news = (gr.Textbox(visible=False) for _ in range(2))
    shown = [*drawing.shown, texts]
    described = [None] * (len(drawing.values) - len(SETTINGS)) + list(SETTINGS)

    def ask(request: gr.Request, given: object) -> list[Any]:
        given = given or request.session_hash  # without page.js
        name = runs.ask(_session(given))
        if name is None:
            return _unchanged(4)
        return [said(words("Waiting for the model …")), gr.update(interactive=True), name, given]

    def draw(given: object, name: object, *values: object) -> Iterator[list[Any]]:
        ticket = runs.begin(_session(given), name)
        if ticket is None:
            yield _unchanged(5)
            return
        try:
            job = job_of(values, generator.facts)
        except ValueError as error:
            runs.end(ticket.session)
            yield [failed(str(error)), gr.update(interactive=False), *_unchanged(3)]
        else:
            yield from follow(runs.draw(job, ticket), ticket)

    def follow(events: Iterator[Progress | Finished], ticket: Ticket) -> Iterator[list[Any]]:
        told, pictures = 0.0, 0
        try:
            for event in events:
                if isinstance(event, Finished):
                    text = finished_run(event, ticket.seconds, words)
                    yield [text, gr.update(interactive=False), *_pictures(event.drawn, words)]
                elif len(event.drawn) > pictures:
                    pictures = len(event.drawn)
                    yield [progress(event, words), *_unchanged(1), *_pictures(event.drawn, words)]
                elif event.step == 0 or time.monotonic() - told >= _SECONDS_BETWEEN_NEWS:
                    told = time.monotonic()
                    yield [progress(event, words), *_unchanged(4)]
        except ValueError as error:
            yield [failed(str(error)), gr.update(interactive=False), *_unchanged(3)]
        except Exception as error:
            logger.exception("a run of the page failed")
            text = words("Failed: {reason}", reason=f"{type(error).__name__}: {error}")
            yield [failed(text), gr.update(interactive=False), *_unchanged(3)]

    def settle(given: object, name: object) -> list[Any]:
        # gradio checks values before it calls `draw`, and says itself what it refuses.
        if not runs.give_up(_session(given), name):
            return _unchanged(2)
        text = words("Nothing was drawn: a value was refused. Correct it and press Generate again.")
        return [failed(text), gr.update(interactive=False)]

    def stop(given: object) -> Any:
        runs.stop(_session(given))
        # The status is left to the run: an answer from here may come after its last word.
        return gr.update(interactive=False)

    def choose(kept: Sequence[str], event: gr.SelectData) -> str:
        place = event.index if isinstance(event.index, int) else 0
        return kept[place] if place < len(kept) else ""

    def use(kept: Sequence[str], text: str, shown: Sequence[tuple[str, str]] | None) -> list[Any]:
        if not shown or text not in kept:
            problem = words("There is no picture yet: draw one first, or drop one on Start picture.")
            return [gr.update(open=True), *_unchanged(3), failed(problem)]
        file = shown[kept.index(text)][0]
        with Image.open(file) as image:
            return [gr.update(open=True), file, *image.size, gr.update()]

    def remember(given: object, kept: object) -> list[Any]:
        found = read_kept(kept, generator.facts)
        updates = [showing(one, value) for one, value in zip(described, found, strict=True)]
        lengths = [{key: one[key] for key in one if key in ("minimum", "maximum")} for one in updates]
        defaults = [getattr(one, "value", None) for one in drawing.values]
        told = json.dumps([found, ["" if one is None else one for one in defaults]])
        return [given, told, *(gr.update(**one) for one in lengths)]

    def find_again(given: object) -> Iterator[list[Any]]:
        ticket, goes_on = runs.of(_session(given))
        # In any case something: the newest gradio takes nothing for empty values. Where no run goes on Stop
        # stays as it is: one may begin before this answer arrives.
        yield [gr.update(), gr.update(interactive=True) if goes_on else gr.update(), *_unchanged(3)]
        if ticket is not None:
            for status, stop, *drawn in follow(ticket.follow(), ticket):
                yield [status, stop if goes_on else gr.update(), *drawn]

    one_at_a_time = accepted(prompt.generate.click, concurrency_limit=1, concurrency_id="draw")
    for trigger in (prompt.generate.click, prompt.prompt.submit):
        asked = trigger(
            ask, [session], [results.status, prompt.stop, ticket_name, session], js=_SESSION, **QUIET
        )
        drawn = asked.then(
            draw, [session, ticket_name, *drawing.values], shown, show_progress="hidden", **one_at_a_time
        )
        # After a failure the newest gradio goes on with `failure` alone, which gradio 4 does not know.
        after_failure = getattr(drawn, "failure", drawn.then)
        after_failure(settle, [session, ticket_name], [results.status, prompt.stop], **QUIET)
        drawn.then(*drawing.newest, **QUIET)
    prompt.stop.click(stop, [session], [prompt.stop], **QUIET)
    results.copy.click(None, [results.infotext], None, js=_COPY)
    results.gallery.select(choose, [texts], [results.infotext], **QUIET)
    sampling = drawing.sampling
    results.use.click(
        use,
        [texts, results.infotext, results.gallery],
        [sampling.start_part, sampling.start, *sampling.size, results.status],
        **QUIET,
    )
    if Context.root_block is not None:
        load = Context.root_block.load
        loaded = load(remember, [session, kept], [session, news, *drawing.values], js=_KEPT, **QUIET)
        restored = loaded.then(None, [news, *drawing.values], drawing.values, js=_RESTORE)
        restored.then(None, js=_SHOW_COST_SOON)
        all_at_once = accepted(load, concurrency_limit=None)
        seen = load(find_again, [session], shown, js=_NAMED, show_progress="hidden", **all_at_once)
        seen.then(*drawing.newest, **QUIET)
    for one in drawing.values:
        one.change(None, drawing.values, None, js=_KEEP)


def connect_paste(drawing: Drawing, generator: Generator, words: Words) -> None:
    """A pasted infotext, or that of a picture that is dropped, fills in all controls."""
    results, fields = drawing.results, drawing.panel.infotext_fields
    start = drawing.sampling.start
    own = [drawing.prompt.prompt, drawing.sampling.negative, *drawing.sampling.pasted]

    def fill(text: object, given: object, composing: object, *values: object) -> list[Any]:
        now = dict(zip(PASTED, values, strict=False))
        try:
            found = read_pasted(str(text or ""), generator.facts, words, now)
        except ValueError as error:
            return [failed(str(error)), *_unchanged(1 + len(own) + len(fields))]
        answer = words("All controls are filled in.")
        if found.left_out:
            names = ", ".join(found.left_out[:_MOST_KEYS])
            names += " …" if len(found.left_out) > _MOST_KEYS else ""
            answer = words(
                "Filled in, except for what this page does not have or cannot use: {names}.", names=names
            )
        if found.started and given is None:
            answer += " " + words(
                "The picture that it was drawn from is not in an infotext: put it under Start picture."
            )
        if composing is True and SETTINGS[0].infotext not in found.fields:
            answer += " " + words("It was drawn without LoRAtorio, so composing is switched off.")
        updates = [gr.update() if found.started else gr.update(value=None)]
        updates += [showing(None, found.values[name]) for name in PASTED]
        updates += [showing(field.setting, field(found.fields)) for _, field in fields]
        return [said(answer), *updates]

    def take(text: object, given: object, *values: object) -> list[Any]:
        """As `fill`, and empties what was said of an earlier paste."""
        if not str(text or "").strip():
            problem = words(
                "This file has no infotext. Drop a PNG as this page or a WebUI has written it; a picture to "
                "start from is dropped on Start picture."
            )
            return [failed(problem), "", *_unchanged(1 + len(own) + len(fields))]
        told, *updates = fill(text, given, *values)
        return [told, "", *updates]

    outputs = [start, *own, *(control for control, _ in fields)]
    inputs = [start, drawing.panel.controls[0], *own]
    for event in (
        results.fill.click(fill, [results.paste, *inputs], [results.paste_status, *outputs], **QUIET),
        results.dropped.change(
            take, [results.dropped, *inputs], [results.status, results.paste_status, *outputs], **QUIET
        ),
    ):
        event.then(None, js=_SHOW_COST)


def _session(given: object) -> str:
    return given if isinstance(given, str) else ""


def _pictures(drawn: Sequence[Drawn], words: Words) -> list[Any]:
    """Gallery, infotext and all infotexts; as they were where no picture was finished."""
    if not drawn:
        return _unchanged(3)
    for one in drawn:
        one.image.info["parameters"] = one.infotext  # goes into the file that the gallery offers
    pairs = [(one.image, words("seed {seed}", seed=one.seed)) for one in drawn]
    gallery = gr.update(value=pairs, selected_index=len(drawn) - 1)
    return [gallery, drawn[-1].infotext, [one.infotext for one in drawn]]


def _unchanged(count: int) -> list[Any]:
    return [gr.update() for _ in range(count)]
