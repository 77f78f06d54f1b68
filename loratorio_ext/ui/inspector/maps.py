"""The pictures of the page: who spoke where with its legend, and one heat map for each network."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Final

import numpy as np
from PIL import Image

from loratorio_ext.plots.colors import ramp
from loratorio_ext.plots.pictures import Scale, data_uri, overlay, scale_of
from loratorio_ext.server.words import Words
from loratorio_ext.ui.inspector.pictures import page_size, who_spoke
from loratorio_ext.ui.inspector.selection import Floats, Networks, Selection, mean_maps, means, series
from loratorio_ext.ui.inspector.steps import named, step_line

MAP_SIDE: Final = 256


def who_html(selection: Selection, words: Words) -> str:
    """The picture with the strongest network of each place in color, the legend, and all heat maps."""
    networks = selection.networks
    maps = None if networks is None else selection.maps
    picture = page_size(selection.picture_over(maps))
    if networks is None or maps is None or not networks.names:
        said = ""
        if networks is not None:
            why = escape(_why_no_map(selection, words))
            said = f'<p>{escape(step_line(selection, words))}</p><p class="note">{why}</p>'
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
        f'<p class="note">{escape(explained)}</p>{_maps(selection, maps, networks, words)}</div></section>'
    )


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
        figures.append(_figure(laid_over, alt, named(networks, index, words)))
    notes = []
    if networks.left_out:
        notes.append(words("{count} more networks with less weight are not drawn.", count=networks.left_out))
    if networks.silent:
        notes.append(words("Without weight at any step: {names}", names=networks.silent_names))
    said = "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
    return (
        f'<h3 class="second">{escape(words("How loudly each network spoke"))}</h3>'
        f'<div class="maps">{"".join(figures)}</div>{_scale(scale, len(maps), words)}{said}'
    )


def _legend(selection: Selection, networks: Networks, parts: Sequence[float], words: Words) -> str:
    weights = means(series(selection.selected_steps, selection.image, networks.places, "weight"))
    cells = [
        (index, "–" if weights[index] is None else f"{weights[index]:.2f}") for index in networks.speaking
    ]
    if networks.left_out:
        cells.append((len(networks.names), ""))
    rows = "".join(
        f'<tr><th scope="row"><span>{named(networks, index, words)}</span></th>'
        f"<td>{parts[index]:.0%}</td><td>{weight}</td></tr>"
        for index, weight in cells
    )
    head = "".join(
        f'<th scope="col">{escape(text)}</th>'
        for text in (words("network"), words("strongest in"), words("mean weight"))
    )
    return f'<table class="legend"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _scale(scale: Scale, networks: int, words: Words) -> str:
    colors = ", ".join("#" + "".join(f"{part:02x}" for part in color) for color in ramp(13))
    equal = float(scale.place(np.array(1 / networks)))
    text = words(
        "Light: loud; dark: quiet. The mark is at 1/{count}, what each would have if none stood out.",
        count=networks,
    )
    return (
        f'<div class="scale"><span>{scale.low:.2f}</span>'
        f'<div class="ramp" style="background:linear-gradient(to right, {colors})">'
        f'<i style="left:{100 * equal:.1f}%"></i></div><span>{scale.high:.2f}</span>'
        f'<span class="note">{escape(text)}</span></div>'
    )


def _why_no_map(selection: Selection, words: Words) -> str:
    if mean_maps(selection.steps, selection.image) is None:
        return words("No step of this pass composed networks place by place, so there is no map.")
    return words("At this step nothing was composed place by place, so there is no map of it.")


def _figure(picture: Image.Image, alt: str, caption: str = "") -> str:
    text = f"<figcaption>{caption}</figcaption>" if caption else ""
    return (
        f'<figure><img src="{data_uri(picture)}" width="{picture.width}" height="{picture.height}"'
        f' alt="{escape(alt)}">{text}</figure>'
    )
