"""The page of the inspector as HTML: no scripts, nothing from elsewhere, every stranger's text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources
from typing import Final

import numpy as np
from PIL import Image

from loratorio_ext.plots.colors import ramp
from loratorio_ext.plots.pictures import data_uri, overlay, scale_of
from loratorio_ext.run import NetworkUse, Report
from loratorio_ext.server.words import Words
from loratorio_ext.settings import SETTINGS
from loratorio_ext.ui.inspector.pictures import page_size, who_spoke
from loratorio_ext.ui.inspector.selection import Floats, Networks, Selection, mean_maps, means, series
from loratorio_ext.ui.inspector.steps import chosen_html, curves_html, named, step_line, table_head

MAP_SIDE: Final = 256
_CLASS: Final = "loratorio-inspector"


def view(selection: Selection, words: Words) -> str:
    """What a run did, as HTML for inside another page."""
    parts = [_head(selection, words), who_html(selection, words)]
    report, networks = selection.report, selection.networks
    if report is None or networks is None:
        parts.append(_note(words("Nothing was composed here, so there is nothing to show.")))
    else:
        parts += [
            curves_html(selection, networks, words),
            chosen_html(selection, networks, words),
            _cost(report, words),
            f'<section class="pair">{_networks(report, words)}{_settings(report, words)}</section>',
        ]
    # Warnings of the pass and comments of the run, each once.
    notes = dict.fromkeys([*(report.warnings if report else ()), *selection.record.run.comments])
    if notes:
        title = escape(words("Please note"))
        parts.append(f'<section class="notes"><h3>{title}</h3>{_list(map(escape, notes))}</section>')
    return framed("".join(parts))


def nothing_yet(words: Words, *, kept: bool) -> str:
    """The page before the first run; `kept`: whether the server keeps runs at all."""
    title = words("There is no run to look at yet")
    if not kept:
        why = words("This server keeps no runs: “Runs kept for the inspector” is 0. Set it to 1 or more.")
        return _card(title, f"<p>{escape(why)}</p>")
    steps = (
        words("Tick LoRAtorio below the prompt."),
        words("Write two or more networks into the prompt, such as <lora:cat:1> <lora:night:1>."),
        words("Generate a picture, come back here and press Refresh."),
    )
    after = words(
        "Then you see which network spoke where, at every step. Runs are forgotten when the server restarts."
    )
    return _card(title, _list(map(escape, steps), "ol") + _note(after))


def gone(number: int, words: Words) -> str:
    """The page for a run that the history has forgotten."""
    why = escape(words("Newer runs took its place. Press Refresh and choose another one."))
    return _card(words("Run {number} is no longer kept", number=number), f"<p>{why}</p>")


def framed(body: str) -> str:
    """Parts of the inspector with the inspector's look, which other parts of a page do not share."""
    style = resources.files(__package__).joinpath("inspector.css").read_text("utf-8")
    # gradio's own rules for tables and lists inside HTML are nearly as specific as three classes.
    style = style.replace(f".{_CLASS}", f".{_CLASS}" * 3)
    return f'<div class="{_CLASS}"><style>{style}</style>{body}</div>'


def who_html(selection: Selection, words: Words) -> str:
    """The picture with the strongest network of each place in color, the legend, and all heat maps."""
    networks = selection.networks
    maps = None if networks is None else selection.maps
    picture = page_size(selection.picture_over(maps))
    if networks is None or maps is None or not networks.names:
        said = ""
        if networks is not None:
            why = words("At this step nothing was composed place by place, so there is no map of it.")
            if mean_maps(selection.steps, selection.image) is None:
                why = words("No step of this pass composed networks place by place, so there is no map.")
            said = f"<p>{escape(step_line(selection, words))}</p>{_note(why)}"
        return f'<section class="who">{_figure(picture, words("the picture"))}<div>{said}</div></section>'
    painted, parts = who_spoke(picture, maps, networks, selection.strength)
    places = ", ".join(
        f"{networks.letter(index)} {networks.names[index]}: {parts[index]:.0%}" for index in networks.speaking
    )
    alt = words("The picture, in the color of the strongest network at each place. {places}", places=places)
    explained = words(
        "Each place has the color of its strongest network; the stronger the color, the more it stands out."
    )
    if len(parts) == 1:
        explained = words("Only one network was composed, so it speaks everywhere and nothing is colored.")
    return (
        f'<section class="who">{_figure(painted, alt)}<div><h3>{escape(words("Who spoke where"))}</h3>'
        f"<p>{escape(step_line(selection, words))}</p>{_legend(selection, networks, parts, words)}"
        f"{_note(explained)}{_maps(selection, maps, networks, words)}</div></section>"
    )


def _legend(selection: Selection, networks: Networks, parts: Sequence[float], words: Words) -> str:
    weights = means(series(selection.selected_steps, selection.image, networks.places, "weight"))
    shown = ["–" if weight is None else f"{weight:.2f}" for weight in weights]
    rows = "".join(
        f'<tr><th scope="row"><span>{named(networks, index, words)}</span></th>'
        f"<td>{parts[index]:.0%}</td><td>{shown[index] if index < len(shown) else ''}</td></tr>"
        for index in (*networks.speaking, *range(len(networks.names), len(parts)))
    )
    head = table_head(words("network"), words("strongest in"), words("mean weight"))
    return f'<table class="legend">{head}<tbody>{rows}</tbody></table>'


def _maps(selection: Selection, maps: Floats, networks: Networks, words: Words) -> str:
    """The weight of every network over the picture, all on one scale."""
    picture = page_size(selection.picture_over(maps), MAP_SIDE)
    picture.thumbnail((MAP_SIDE, MAP_SIDE), Image.Resampling.NEAREST)
    scale = scale_of([maps[list(networks.places)]])
    figures = []
    for index in networks.speaking:
        one = maps[networks.places[index]]
        alt = words(
            "Weight of {name} over the picture, from {low} to {high}",
            name=networks.names[index],
            low=f"{one.min():.2f}",
            high=f"{one.max():.2f}",
        )
        laid_over = overlay(picture, one, scale, picture.size)
        figures.append(_figure(laid_over, alt, f"<figcaption>{named(networks, index, words)}</figcaption>"))
    colors = ", ".join("#" + bytes(color).hex() for color in ramp(13))
    mark = words(
        "Light: loud; dark: quiet. The mark is at 1/{count}, what each would have if none stood out.",
        count=len(maps),
    )
    notes = ""
    if networks.left_out:
        count = networks.left_out
        notes += _note(words("{count} more networks with less weight are not drawn.", count=count))
    if networks.silent:
        notes += _note(words("Without weight at any step: {names}", names=networks.silent_names))
    return (
        f'<h3 class="second">{escape(words("How loudly each network spoke"))}</h3>'
        f'<div class="maps">{"".join(figures)}</div><div class="scale"><span>{scale.low:.2f}</span>'
        f'<div class="ramp" style="background:linear-gradient(to right, {colors})">'
        f'<i style="left:{100 * float(scale.place(np.array(1 / len(maps)))):.1f}%"></i></div>'
        f'<span>{scale.high:.2f}</span><span class="note">{escape(mark)}</span></div>{notes}'
    )


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
    prompt = escape(run.prompt) or f"<i>{escape(words('no prompt'))}</i>"
    return f'<header>{_note(" · ".join(facts))}<p class="prompt">{prompt}</p></header>'


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
    together = words("For all {count} pictures of the batch together.", count=images)
    return (
        f'<section><h3>{escape(words("What it cost"))}</h3><dl class="tiles">{tiles}</dl>'
        f"{_note(together) if images > 1 else ''}</section>"
    )


def _networks(report: Report, words: Words) -> str:
    """Every network of the run with its strength, what its tag says, and whether it was kept merged."""

    def shown(use: NetworkUse) -> str:
        said = [f"{name}={value}" for name in ("at", "steps", "fade") if (value := getattr(use, name))]
        said += [] if use.cond else ["cond=0"]
        said += [] if use.uncond is None else [f"uncond={int(use.uncond)}"]
        rest = said if use.compose else [words("kept merged"), *said]
        return f"<b>{escape(use.name)}</b> {use.strength:g}{''.join(f', {escape(one)}' for one in rest)}"

    uses = [shown(use) for use in report.uses]
    body = _list(uses) if uses else _note(words("no network"))
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
    body = _list(items) if items else _note(words("All settings have their default values."))
    return f"<div><h3>{escape(words('Settings'))}</h3>{body}</div>"


def _card(title: str, body: str) -> str:
    return framed(f'<div class="card"><h3>{escape(title)}</h3>{body}</div>')


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _list(items: Iterable[str], kind: str = "ul") -> str:
    """A list of items that are HTML already."""
    return f"<{kind}>{''.join(f'<li>{item}</li>' for item in items)}</{kind}>"


def _figure(picture: Image.Image, alt: str, caption: str = "") -> str:
    """A picture and its caption, which is HTML already."""
    return (
        f'<figure><img src="{data_uri(picture)}" width="{picture.width}" height="{picture.height}"'
        f' alt="{escape(alt)}">{caption}</figure>'
    )
