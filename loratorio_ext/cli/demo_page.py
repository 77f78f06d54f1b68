"""The demo's page: one file without scripts and without anything from elsewhere, for light and dark."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from importlib import resources
from typing import Final

import numpy as np
from PIL import Image

from loratorio_ext.cli.demo_results import Demo, Maps, Outcome, Wanted, versions
from loratorio_ext.plots.charts import line_chart
from loratorio_ext.plots.colors import network_color, ramp
from loratorio_ext.plots.pictures import Scale, data_uri, heat, overlay, scale_of, territories

NUMBERS: Final = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight")
# A step's map is drawn with this many pixels a patch; the page enlarges it without blur.
PATCH_PIXELS: Final = 2


def page(demo: Demo) -> str:
    """The whole page as HTML."""
    style = resources.files(__package__).joinpath("demo_page.css").read_text("utf-8")
    body = [
        _head(demo),
        _pictures(demo),
        *_who_speaks(demo),
        *_charts(demo),
        _figures(demo),
        _made_with(demo),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>LoRAtorio: {escape(demo.text)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def _word(count: int, noun: str) -> str:
    number = NUMBERS[count] if count < len(NUMBERS) else str(count)
    return f"{number} {noun}" + ("" if count == 1 else "s")


def _color(wanted: Wanted, demo: Demo) -> str:
    return network_color(demo.wanted.index(wanted))


def _head(demo: Demo) -> str:
    marked = {wanted.value: wanted for wanted in demo.wanted}
    words = [
        f'<b style="--network: {_color(marked[word], demo)}">{escape(word)}</b>'
        if word in marked
        else escape(word)
        for word in demo.text.split(" ")
    ]
    key = "".join(
        f'<li><span class="swatch" style="--network: {_color(wanted, demo)}"></span>'
        f"{escape(wanted.network)} knows the {escape(wanted.factor)}</li>"
        for wanted in demo.wanted
    )
    return f"""<header>
<p class="eyebrow">LoRAtorio, a demonstration</p>
<h1>{_word(len(demo.wanted), "network")}, one picture</h1>
<p class="prompt">{" ".join(words)}</p>
<ul class="key">{key}</ul>
<p>Each underlined word is known to one LoRA network alone; the base model has only a weak idea of it. Below,
the same prompt and the same noise go through {len(demo.outcomes)} ways to combine the networks.
LoRAtorio asks at every step, at every place of the picture, which network departs most from the base model
there, and lets that one speak.</p>
</header>"""


def _pictures(demo: Demo) -> str:
    rows = "\n".join(_method(demo, outcome) for outcome in demo.outcomes)
    return f"""<section>
<h2>The pictures</h2>
<p>One column for each seed. A filled dot: the judge, a small classifier trained beside the model, finds
that network's concept in the picture. An empty ring: it does not.</p>
<div class="methods" style="--count: {len(demo.seeds)}">
{rows}
</div>
</section>"""


def _method(demo: Demo, outcome: Outcome) -> str:
    figures = "".join(_judged(demo, outcome, place) for place in range(len(demo.seeds)))
    ours = " ours" if outcome is demo.composed else ""
    return (
        f'<div class="method{ours}"><div><h3>{escape(outcome.method.label)}</h3>'
        f'<p class="about">{escape(outcome.method.about)}</p></div>'
        f'<div class="pictures">{figures}</div></div>'
    )


def _judged(demo: Demo, outcome: Outcome, place: int) -> str:
    marks = []
    for wanted in demo.wanted:
        found = outcome.found(place, wanted)
        verdict = "found" if found else "not found"
        text = f"{wanted.value} {verdict}, probability {outcome.probability(place, wanted):.2f}"
        marks.append(
            f'<li class="{"yes" if found else "no"}" style="--network: {_color(wanted, demo)}"'
            f' title="{escape(text)}" aria-label="{escape(text)}"></li>'
        )
    alt = f"{outcome.method.label}, seed {demo.seeds[place]}"
    picture = outcome.images[place]
    return f'<figure>{_img(picture, alt)}<ul class="found">{"".join(marks)}</ul></figure>'


def _img(picture: Image.Image, alt: str) -> str:
    return (
        f'<img src="{data_uri(picture)}" width="{picture.width}" height="{picture.height}"'
        f' alt="{escape(alt)}" title="{escape(alt)}">'
    )


def _who_speaks(demo: Demo) -> Iterable[str]:
    steps, maps = demo.maps()
    if not steps:
        return
    scale, mean_scale = scale_of([maps]), scale_of([maps.mean(axis=0)])
    first, *others = [
        _maps_of(demo, place, steps, maps, (scale, mean_scale)) for place in range(len(demo.seeds))
    ]
    more = "".join(
        f"<details><summary>The same for seed {seed}</summary>{html}</details>"
        for seed, html in zip(demo.seeds[1:], others, strict=True)
    )
    yield f"""<section>
<h2>Who speaks where</h2>
<p>The weights that LoRAtorio gave to each network, for seed {demo.seeds[0]}. Light places listen to the
network, dark ones do not. At every place the weights of all networks add up to one.</p>
{first}
{_legends(demo, scale, mean_scale)}
{more}
</section>"""


def _maps_of(demo: Demo, place: int, steps: list[int], maps: Maps, scales: tuple[Scale, Scale]) -> str:
    scale, mean_scale = scales
    picture, names = demo.composed.images[place], demo.composed.report.composed
    mean = maps[:, :, place].mean(axis=0)
    figures = [
        f"<figure>{_img(picture, 'the picture')}<figcaption>the picture</figcaption></figure>",
        f"<figure>{_img(territories(picture, mean, picture.size), 'the strongest network at each place')}"
        "<figcaption>who is strongest, all steps</figcaption></figure>",
    ]
    strips = []
    for index, name in enumerate(names):
        swatch = f'<span class="swatch" style="--network: {network_color(index)}"></span>'
        laid_over = _img(overlay(picture, mean[index], mean_scale, picture.size), f"mean weight of {name}")
        figures.append(
            f"<figure>{laid_over}<figcaption>{swatch}{escape(name)}, all steps</figcaption></figure>"
        )
        height, width = maps.shape[-2:]
        size = (PATCH_PIXELS * width, PATCH_PIXELS * height)
        tiles = "".join(
            _img(heat(maps[step, index, place], scale, size), f"{name}, step {number + 1}")
            for step, number in enumerate(steps)
        )
        strips.append(
            f'<div><h3>{swatch}{escape(name)}, step by step</h3><div class="tiles">{tiles}</div></div>'
        )
    return f'<div class="who">{"".join(figures)}</div>\n<div class="steps">{"".join(strips)}</div>'


def _legends(demo: Demo, scale: Scale, mean_scale: Scale) -> str:
    networks = len(demo.composed.report.composed)
    return (
        f'<div class="legends">{_legend("mean of all steps", mean_scale, networks)}'
        f"{_legend('single step', scale, networks)}</div>"
        f'<p class="note below">Colors are weights. The mark is at 1/{networks}, what each network would'
        " have if none stood out.</p>"
    )


def _legend(label: str, scale: Scale, networks: int) -> str:
    colors = ", ".join("#" + "".join(f"{part:02x}" for part in color) for color in ramp(13))
    equal = float(scale.place(np.array(1 / networks)))
    return (
        f'<div class="legend"><span>{label}</span><span>{scale.low:.2f}</span>'
        f'<div class="ramp" style="background: linear-gradient(to right, {colors})">'
        f'<i style="left: {100 * equal:.1f}%"></i></div><span>{scale.high:.2f}</span></div>'
    )


def _charts(demo: Demo) -> Iterable[str]:
    names = demo.composed.report.composed
    weights = demo.series("weight")
    similarity = demo.series("similarity")
    if not any(value is not None for line in similarity for value in line):
        return
    distance = [[None if value is None else 1 - value for value in line] for line in similarity]
    weight_chart = line_chart(names, weights, title="mean weight at each step", guide=1 / len(names))
    distance_chart = line_chart(names, distance, title="mean distance from the base at each step")
    yield f"""<section>
<h2>Step by step</h2>
<p>Means over the picture and over all seeds. A network that departs far from the base model in a small place
only, such as an object's, has a modest mean and a bright spot in its map.</p>
<div class="charts">
<div><h3>Weight of each network</h3>{weight_chart}</div>
<div><h3>Distance from the base (1 − cosine)</h3>{distance_chart}</div>
</div>
</section>"""


def _figures(demo: Demo) -> str:
    pictures = len(demo.seeds)
    head = "".join(f'<th scope="col">{escape(wanted.value)}</th>' for wanted in demo.wanted)
    rows = []
    for outcome in demo.outcomes:
        totals = outcome.report.totals
        cells = "".join(
            f"<td>{outcome.count(wanted)} of {pictures} <small>{outcome.mean(wanted):.2f}</small></td>"
            for wanted in demo.wanted
        )
        ratio = "" if totals.ratio is None else f" <small>{totals.ratio:.1f}×</small>"
        ours = ' class="ours"' if outcome is demo.composed else ""
        rows.append(
            f'<tr{ours}><th scope="row">{escape(outcome.method.label)}</th>{cells}'
            f"<td>{outcome.all_found(demo.wanted)} of {pictures}</td><td>{totals.rows}{ratio}</td>"
            f"<td>{totals.calls}</td><td>{totals.seconds:.1f}</td></tr>"
        )
    return f"""<section>
<h2>What the judge found, and what it cost</h2>
<div class="scroll"><table>
<thead><tr><th></th>{head}<th scope="col">all</th><th scope="col">rows</th><th scope="col">calls</th>
<th scope="col">seconds</th></tr></thead>
<tbody>{"".join(rows)}</tbody>
</table></div>
<p class="note below">Small figures: the judge's mean probability; rows as a multiple of a plain generation.
A row is one prediction of the model for one picture at one step; seconds are spent in the model and in
composing, for all {pictures} pictures. {_word(pictures, "picture")} for each method show how it works,
not how well: for that, many prompts and seeds are needed.</p>
</section>"""


def _made_with(demo: Demo) -> str:
    settings = ", ".join(
        f"{name} {value}" for name, value in demo.settings.to_dict().items() if name != "enabled"
    )
    made = versions()
    facts = (
        ("prompt", f"<code>{escape(demo.prompt)}</code>"),
        ("seeds", escape(", ".join(map(str, demo.seeds)))),
        ("sampler", f"{demo.steps} steps, guidance scale {demo.cfg:g}"),
        ("settings", escape(settings)),
        (
            "made with",
            escape(
                f"LoRAtorio {made['loratorio']}, torch {made['torch']}, Python {made['python']}, "
                f"{made['threads']} threads on {made['machine']}"
            ),
        ),
        ("figures", '<a href="results.json">results.json</a>, with every step of every method'),
        ("method", "Foteinopoulou, Budvytis, Liwicki: LoRAtorio, arXiv 2508.11624"),
    )
    rows = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts)
    return f'<section>\n<h2>How this was made</h2>\n<dl class="facts">{rows}</dl>\n</section>'
