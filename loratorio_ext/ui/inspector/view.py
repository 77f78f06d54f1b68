"""The page of the inspector as HTML: no scripts, nothing from elsewhere, every stranger's text escaped."""

from __future__ import annotations

from html import escape
from importlib import resources
from typing import Final

from loratorio_ext.server.record import Record
from loratorio_ext.server.words import Words
from loratorio_ext.ui.inspector.chosen import chosen_html
from loratorio_ext.ui.inspector.curves import curves_html
from loratorio_ext.ui.inspector.facts import cost_html, networks_html, notes_html, settings_html
from loratorio_ext.ui.inspector.looked import Choice, Looked, look
from loratorio_ext.ui.inspector.maps_html import who_html
from loratorio_ext.ui.inspector.weights import shown_networks

_CLASS: Final = "loratorio-inspector"


def view(record: Record, choice: Choice, words: Words) -> str:
    """What a run did, as HTML for inside another page.

    Args:
        record: the run.
        choice: what to look at; numbers out of range are brought into it.
        words: the language.
    """
    looked = look(record, choice)
    parts = [_head(looked, words)]
    report = looked.report
    if report is None:
        parts.append(who_html(looked, None, words))
        parts.append(
            f'<p class="note">{escape(words("Nothing was composed here, so there is nothing to show."))}</p>'
        )
    else:
        shown = shown_networks(report, looked.steps, looked.image)
        parts += [
            who_html(looked, shown, words),
            curves_html(looked, shown, words),
            chosen_html(looked, shown, words),
            cost_html(looked, words),
            f'<section class="pair">{networks_html(report, words)}{settings_html(report, words)}</section>',
        ]
    parts.append(notes_html(looked, words))
    return _framed("".join(parts))


def nothing_yet(words: Words, *, kept: bool) -> str:
    """The page before the first run; `kept`: whether the server keeps runs at all."""
    title = escape(words("There is no run to look at yet"))
    if not kept:
        why = words("This server keeps no runs: “Runs kept for the inspector” is 0. Set it to 1 or more.")
        return _framed(f'<div class="card"><h3>{title}</h3><p>{escape(why)}</p></div>')
    steps = (
        words("Tick LoRAtorio below the prompt."),
        words("Write two or more networks into the prompt, such as <lora:cat:1> <lora:night:1>."),
        words("Generate a picture, come back here and press Refresh."),
    )
    items = "".join(f"<li>{escape(step)}</li>" for step in steps)
    after = words("Then you see which network spoke where, at every step. Runs are forgotten at a restart.")
    return _framed(
        f'<div class="card"><h3>{title}</h3><ol>{items}</ol><p class="note">{escape(after)}</p></div>'
    )


def gone(number: int, words: Words) -> str:
    """The page for a run that the history has forgotten."""
    title = escape(words("Run {number} is no longer kept", number=number))
    why = escape(words("Newer runs took its place. Press Refresh and choose another one."))
    return _framed(f'<div class="card"><h3>{title}</h3><p>{why}</p></div>')


def _framed(body: str) -> str:
    style = resources.files(__package__).joinpath("inspector.css").read_text("utf-8")
    # gradio's own rules for tables and lists inside HTML are nearly as specific as three classes.
    style = style.replace(f".{_CLASS}", f".{_CLASS}" * 3)
    return f'<div class="{_CLASS}"><style>{style}</style>{body}</div>'


def _head(looked: Looked, words: Words) -> str:
    run, picture = looked.record.run, looked.picture
    facts = [words("run {number}", number=looked.record.number)]
    if picture is not None and len(run.pictures) > 1:
        place = run.pictures.index(picture) + 1
        facts.append(words("picture {place} of {count}", place=place, count=len(run.pictures)))
    if picture is not None and picture.seed is not None:
        facts.append(words("seed {seed}", seed=picture.seed))
    if looked.report is not None and not looked.report.finished:
        facts.append(words("stopped before its end"))
    line = " · ".join(escape(fact) for fact in facts)
    prompt = escape(run.prompt) or f"<i>{escape(words('no prompt'))}</i>"
    return f'<header><p class="note">{line}</p><p class="prompt">{prompt}</p></header>'
