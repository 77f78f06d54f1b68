"""The page of the inspector as HTML: no scripts, nothing from elsewhere, every stranger's text escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib import resources
from typing import Final

from loratorio_ext.run import Report
from loratorio_ext.server.words import Words
from loratorio_ext.settings import SETTINGS
from loratorio_ext.ui.inspector.maps import who_html
from loratorio_ext.ui.inspector.selection import Selection
from loratorio_ext.ui.inspector.steps import chosen_html, curves_html

_CLASS: Final = "loratorio-inspector"


def view(selection: Selection, words: Words) -> str:
    """What a run did, as HTML for inside another page."""
    parts = [_head(selection, words), who_html(selection, words)]
    report, networks = selection.report, selection.networks
    if report is None or networks is None:
        parts.append(
            f'<p class="note">{escape(words("Nothing was composed here, so there is nothing to show."))}</p>'
        )
    else:
        parts += [
            curves_html(selection, networks, words),
            chosen_html(selection, networks, words),
            _cost(report, words),
            f'<section class="pair">{_networks(report, words)}{_settings(report, words)}</section>',
        ]
    parts.append(_notes(selection, words))
    return framed("".join(parts))


def nothing_yet(words: Words, *, kept: bool) -> str:
    """The page before the first run; `kept`: whether the server keeps runs at all."""
    title = escape(words("There is no run to look at yet"))
    if not kept:
        why = words("This server keeps no runs: “Runs kept for the inspector” is 0. Set it to 1 or more.")
        return framed(f'<div class="card"><h3>{title}</h3><p>{escape(why)}</p></div>')
    steps = (
        words("Tick LoRAtorio below the prompt."),
        words("Write two or more networks into the prompt, such as <lora:cat:1> <lora:night:1>."),
        words("Generate a picture, come back here and press Refresh."),
    )
    after = words(
        "Then you see which network spoke where, at every step. Runs are forgotten when the server restarts."
    )
    return framed(
        f'<div class="card"><h3>{title}</h3>{_list(map(escape, steps), "ol")}'
        f'<p class="note">{escape(after)}</p></div>'
    )


def gone(number: int, words: Words) -> str:
    """The page for a run that the history has forgotten."""
    title = escape(words("Run {number} is no longer kept", number=number))
    why = escape(words("Newer runs took its place. Press Refresh and choose another one."))
    return framed(f'<div class="card"><h3>{title}</h3><p>{why}</p></div>')


def framed(body: str) -> str:
    """Parts of the inspector with the inspector's look, which other parts of a page do not share."""
    style = resources.files(__package__).joinpath("inspector.css").read_text("utf-8")
    # gradio's own rules for tables and lists inside HTML are nearly as specific as three classes.
    style = style.replace(f".{_CLASS}", f".{_CLASS}" * 3)
    return f'<div class="{_CLASS}"><style>{style}</style>{body}</div>'


def _head(selection: Selection, words: Words) -> str:
    run, picture = selection.record.run, selection.picture
    facts = [words("run {number}", number=selection.record.number)]
    if picture is not None and len(run.pictures) > 1:
        place = run.pictures.index(picture) + 1
        facts.append(words("picture {place} of {count}", place=place, count=len(run.pictures)))
    if picture is not None and picture.seed is not None:
        facts.append(words("seed {seed}", seed=picture.seed))
    if selection.report is not None and not selection.report.finished:
        facts.append(words("stopped before its end"))
    line = " · ".join(escape(fact) for fact in facts)
    prompt = escape(run.prompt) or f"<i>{escape(words('no prompt'))}</i>"
    return f'<header><p class="note">{line}</p><p class="prompt">{prompt}</p></header>'


def _cost(report: Report, words: Words) -> str:
    """Steps, rows, rows against a plain generation, model calls and seconds of the pass."""
    totals = report.totals
    figures = (
        (f"{totals.steps}", words("steps")),
        (f"{totals.rows}", words("rows through the model")),
        ("–" if totals.ratio is None else f"{totals.ratio:.2f} ×", words("of a plain generation")),
        (f"{totals.calls}", words("model calls")),
        (f"{totals.seconds:.1f}", words("seconds")),
    )
    tiles = "".join(f"<div><dt>{escape(name)}</dt><dd>{figure}</dd></div>" for figure, name in figures)
    images = max((len(step.chosen) for step in report.steps), default=1)
    text = words("For all {count} pictures of the batch together.", count=images)
    together = f'<p class="note">{escape(text)}</p>' if images > 1 else ""
    return (
        f'<section><h3>{escape(words("What it cost"))}</h3><dl class="tiles">{tiles}</dl>{together}</section>'
    )


def _networks(report: Report, words: Words) -> str:
    """Every network of the run with its strength, and whether it was kept merged in every prediction."""
    kept = f", {escape(words('kept merged'))}"
    uses = [f"<b>{escape(use.name)}</b> {use.strength:g}{'' if use.compose else kept}" for use in report.uses]
    body = _list(uses) if uses else f'<p class="note">{escape(words("no network"))}</p>'
    return f"<div><h3>{escape(words('Networks and their strengths'))}</h3>{body}</div>"


def _settings(report: Report, words: Words) -> str:
    """The settings that differ from their defaults, and the way of combining where it is not LoRAtorio's."""
    values = report.settings.to_dict()
    lines = [
        (words(one.label), str(values[one.name]), str(one.default) or words("empty"))
        for one in SETTINGS
        if one.name != "enabled" and values[one.name] != one.default
    ]
    if report.method != "loratorio":
        lines.insert(0, (words("Way of combining"), report.method, "loratorio"))
    items = [
        f"{escape(label)}: <b>{escape(value)}</b> "
        f"<small>({escape(words('default {value}', value=default))})</small>"
        for label, value, default in lines
    ]
    body = f'<p class="note">{escape(words("All settings have their default values."))}</p>'
    return f"<div><h3>{escape(words('Settings'))}</h3>{_list(items) if items else body}</div>"


def _notes(selection: Selection, words: Words) -> str:
    """Warnings of the pass and comments of the run, each once; nothing if there are none."""
    warnings = () if selection.report is None else selection.report.warnings
    notes = tuple(dict.fromkeys((*warnings, *selection.record.run.comments)))
    if not notes:
        return ""
    title = escape(words("Please note"))
    return f'<section class="notes"><h3>{title}</h3>{_list(map(escape, notes))}</section>'


def _list(items: Iterable[str], kind: str = "ul") -> str:
    """A list of items that are HTML already."""
    return f"<{kind}>{''.join(f'<li>{item}</li>' for item in items)}</{kind}>"
