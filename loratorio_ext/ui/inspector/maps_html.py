"""The pictures of the page: who spoke where with its legend, and one heat map for each network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np
from PIL import Image

from loratorio_ext.plots.colours import network_colour, ramp
from loratorio_ext.plots.pictures import Scale, data_uri, overlay, scale_of
from loratorio_ext.server.words import Words
from loratorio_ext.ui.inspector.lettering import ink_on
from loratorio_ext.ui.inspector.looked import Looked
from loratorio_ext.ui.inspector.paint import page_size, who_spoke
from loratorio_ext.ui.inspector.steps import means, step_line
from loratorio_ext.ui.inspector.weights import Floats, Shown, maps_of, series, shares, with_others

MAP_SIDE: Final = 256
_GREY: Final = (128, 128, 128)


def chip(letter: str, index: int) -> str:
    """A network's letter on its colour; the name beside it says the same to a screen reader."""
    colour = network_colour(index)
    ink = "#{:02x}{:02x}{:02x}".format(*ink_on(colour))
    return f'<span class="chip" aria-hidden="true" style="background:{colour};color:{ink}">{letter}</span>'


def maps_at(looked: Looked) -> Floats | None:
    """The maps of the step that is looked at, or the mean over all, [N, h, w] of all composed networks."""
    return maps_of(looked.steps if looked.at is None else [looked.at], looked.image)


def picture_of(looked: Looked, maps: Floats | None) -> Image.Image:
    """The picture, RGB; where a run has none, a grey ground of the maps' proportions."""
    if looked.picture is not None:
        return looked.picture.image
    height, width = (1, 1) if maps is None else maps.shape[-2:]
    side = 512 / max(height, width)
    return Image.new("RGB", (max(1, round(width * side)), max(1, round(height * side))), _GREY)


def who_html(looked: Looked, shown: Shown | None, words: Words) -> str:
    """The picture with the strongest network of each place in colour, and the legend."""
    maps = maps_at(looked) if shown is not None else None
    picture = page_size(picture_of(looked, maps))
    if shown is None or maps is None or not shown.names:
        caption = "" if shown is None else f'<p class="note">{escape(_why_no_map(looked, words))}</p>'
        line = "" if shown is None else f"<p>{escape(step_line(looked, words))}</p>"
        alt = words("the picture")
        return f'<section class="who">{_figure(picture, alt)}<div>{line}{caption}</div></section>'
    drawn = with_others(maps, shown)
    painted = who_spoke(picture, drawn, shown, looked.strength)
    parts = shares(drawn)
    places = ", ".join(
        f"{shown.letter(index)} {shown.names[index]}: {parts[index]:.0%}" for index in shown.speaking
    )
    alt = words(
        "The picture; in color, which network is the strongest at each place. {places}", places=places
    )
    explained = words(
        "Each place has the color of its strongest network; the clearer, the more it stands out."
    )
    if len(drawn) == 1:
        explained = words("One network alone was composed, so it speaks everywhere and nothing is colored.")
    return (
        f'<section class="who">{_figure(painted, alt)}<div><h3>{escape(words("Who spoke where"))}</h3>'
        f"<p>{escape(step_line(looked, words))}</p>{_legend(looked, shown, parts, words)}"
        f'<p class="note">{escape(explained)}</p>{_maps(looked, maps, shown, words)}</div></section>'
    )


def _maps(looked: Looked, maps: Floats, shown: Shown, words: Words) -> str:
    """The weight of every network over the picture, all on one scale."""
    picture = page_size(picture_of(looked, maps), MAP_SIDE)
    picture.thumbnail((MAP_SIDE, MAP_SIDE), Image.Resampling.NEAREST)
    scale = scale_of([maps[list(shown.places)]])
    figures = []
    for index in shown.speaking:
        place, name = shown.places[index], shown.names[index]
        lowest, highest = maps[place].min(), maps[place].max()
        alt = words(
            "Weight of {name} over the picture, from {low} to {high}",
            name=name,
            low=f"{lowest:.2f}",
            high=f"{highest:.2f}",
        )
        caption = f"{chip(shown.letter(index), index)}<span>{escape(name)}</span>"
        figures.append(_figure(overlay(picture, maps[place], scale, picture.size), alt, caption))
    notes = []
    if shown.left_out:
        notes.append(words("{count} more networks with less weight are not drawn.", count=shown.left_out))
    if shown.silent:
        notes.append(words("Without weight at all steps: {names}", names=shown.silent_names))
    said = "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
    return (
        f'<h3 class="second">{escape(words("How loudly each network spoke"))}</h3>'
        f'<div class="maps">{"".join(figures)}</div>{_scale(scale, len(maps), words)}{said}'
    )


def _legend(looked: Looked, shown: Shown, parts: Sequence[float], words: Words) -> str:
    steps = looked.steps if looked.at is None else [looked.at]
    weights = means(series(steps, looked.image, shown.places, "weight"))
    rows = []
    for index in shown.speaking:
        name, weight = shown.names[index], weights[index]
        rows.append(
            f'<tr><th scope="row"><span>{chip(shown.letter(index), index)}<span>{escape(name)}</span></span>'
            f"</th><td>{parts[index]:.0%}</td><td>{'–' if weight is None else f'{weight:.2f}'}</td></tr>"
        )
    if shown.left_out:
        rows.append(
            f'<tr><th scope="row"><span>{chip("+", len(shown.names))}'
            f"<span>{escape(words('all others'))}</span></span></th><td>{parts[-1]:.0%}</td><td></td></tr>"
        )
    return (
        f'<table class="legend"><thead><tr><th scope="col">{escape(words("network"))}</th>'
        f'<th scope="col">{escape(words("strongest in"))}</th>'
        f'<th scope="col">{escape(words("mean weight"))}</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _scale(scale: Scale, networks: int, words: Words) -> str:
    colours = ", ".join("#" + "".join(f"{part:02x}" for part in colour) for colour in ramp(13))
    equal = float(scale.place(np.array(1 / networks)))
    text = words(
        "Light: loud, dark: quiet. The mark is at 1/{count}, which each would have if none stood out.",
        count=networks,
    )
    return (
        f'<div class="scale"><span>{scale.low:.2f}</span>'
        f'<div class="ramp" style="background:linear-gradient(to right, {colours})">'
        f'<i style="left:{100 * equal:.1f}%"></i></div><span>{scale.high:.2f}</span>'
        f'<span class="note">{escape(text)}</span></div>'
    )


def _why_no_map(looked: Looked, words: Words) -> str:
    if maps_of(looked.steps, looked.image) is None:
        return words("No step of this pass composed networks place by place, so there is no map.")
    return words("At this step nothing was composed place by place, so there is no map of it.")


def _figure(picture: Image.Image, alt: str, caption: str = "") -> str:
    text = f"<figcaption>{caption}</figcaption>" if caption else ""
    return (
        f'<figure><img src="{data_uri(picture)}" width="{picture.width}" height="{picture.height}"'
        f' alt="{escape(alt)}">{text}</figure>'
    )
