"""What a run cost, what it was asked for, and what the user should know about it."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from loratorio_ext.run import Report
from loratorio_ext.server.words import Words
from loratorio_ext.settings import SETTINGS
from loratorio_ext.ui.inspector.looked import Looked


def cost_html(looked: Looked, words: Words) -> str:
    """Steps, rows, rows against a plain generation, model calls and seconds of the pass."""
    report = looked.report
    if report is None:
        return ""
    totals = report.totals
    figures = (
        (f"{totals.steps}", words("steps")),
        (f"{totals.rows}", words("rows through the model")),
        ("–" if totals.ratio is None else f"{totals.ratio:.2f} ×", words("of a plain generation")),
        (f"{totals.calls}", words("model calls")),
        (f"{totals.seconds:.1f}", words("seconds")),
    )
    tiles = "".join(f"<div><dt>{escape(name)}</dt><dd>{figure}</dd></div>" for figure, name in figures)
    images = max((len(step.chosen) for step in looked.steps), default=1)
    text = words("For all {count} pictures of the batch together.", count=images)
    together = f'<p class="note">{escape(text)}</p>' if images > 1 else ""
    return (
        f'<section><h3>{escape(words("What it cost"))}</h3><dl class="tiles">{tiles}</dl>{together}</section>'
    )


def networks_html(report: Report, words: Words) -> str:
    """Every network of the run with its strength, and whether it was kept merged in every prediction."""
    kept = f", {escape(words('kept merged'))}"
    items = "".join(
        f"<li><b>{escape(use.name)}</b> {use.strength:g}{'' if use.compose else kept}</li>"
        for use in report.uses
    )
    body = f"<ul>{items}</ul>" if items else f'<p class="note">{escape(words("no network"))}</p>'
    return f"<div><h3>{escape(words('Networks and their strengths'))}</h3>{body}</div>"


def settings_html(report: Report, words: Words) -> str:
    """The settings that differ from their defaults, and the way of combining where it is not LoRAtorio's."""
    values = report.settings.to_dict()
    lines = [
        (words(one.label), str(values[one.name]), words("default {value}", value=_shown(one.default, words)))
        for one in SETTINGS
        if one.name != "enabled" and values[one.name] != one.default
    ]
    if report.method != "loratorio":
        lines.insert(
            0, (words("Way of combining"), report.method, words("default {value}", value="loratorio"))
        )
    if not lines:
        body = f'<p class="note">{escape(words("All settings have their default values."))}</p>'
    else:
        items = (
            f"<li>{escape(label)}: <b>{escape(value)}</b> <small>({escape(default)})</small></li>"
            for label, value, default in lines
        )
        body = f"<ul>{''.join(items)}</ul>"
    return f"<div><h3>{escape(words('Settings'))}</h3>{body}</div>"


def notes_html(looked: Looked, words: Words) -> str:
    """Warnings of the pass and comments of the run, each once; nothing if there are none."""
    warnings = () if looked.report is None else looked.report.warnings
    notes = tuple(dict.fromkeys((*warnings, *looked.record.run.comments)))
    if not notes:
        return ""
    return f'<section class="notes"><h3>{escape(words("Please note"))}</h3>{_list(notes)}</section>'


def _list(texts: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"


def _shown(value: object, words: Words) -> str:
    return words("empty") if value == "" else str(value)
