"""The demo's page: one file without scripts and without anything from elsewhere, for light and dark.

Who spoke where, and the charts of the steps, are the inspector's own view of the same run.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from importlib import resources
from typing import Final

from PIL import Image

from loratorio_ext.cli.demo_results import Demo, Outcome, versions
from loratorio_ext.plots.colors import network_color
from loratorio_ext.plots.pictures import data_uri, scale_of, strip
from loratorio_ext.server.history import FinishedRun, PassRecord, Record, now, pictures_in_batches
from loratorio_ext.server.words import Words
from loratorio_ext.ui.inspector.selection import Selection, networks_in, select
from loratorio_ext.ui.inspector.steps import curves_html, named
from loratorio_ext.ui.inspector.view import framed, who_html

# A step's map is drawn with this many pixels a patch; the page enlarges it without blur.
PATCH_PIXELS: Final = 4


def page(demo: Demo) -> str:
    """The whole page as HTML."""
    style = resources.files(__package__).joinpath("demo_page.css").read_text("utf-8")
    body = [_head(demo), _pictures(demo), *_who_speaks(demo), _figures(demo), _made_with(demo)]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>LoRAtorio: {escape(demo.text)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        + framed("\n".join(body))
        + "\n</main>\n</body>\n</html>\n"
    )


def _head(demo: Demo) -> str:
    words = Words()
    networks = networks_in(demo.composed.report, 0)
    places = {wanted.value: place for place, wanted in enumerate(demo.wanted)}
    text = " ".join(
        f'<b style="--network: {network_color(places[word])}">{escape(word)}</b>'
        if word in places
        else escape(word)
        for word in demo.text.split(" ")
    )
    key = "".join(
        f"<li>{named(networks, place, words)} knows the {escape(wanted.factor)}</li>"
        for place, wanted in enumerate(demo.wanted)
    )
    return f"""<header>
<p class="eyebrow">LoRAtorio, a demonstration</p>
<h1>Several networks, one picture</h1>
<p class="title">{text}</p>
<ul class="key">{key}</ul>
<p>Each underlined word is known to one LoRA network alone; the base model has only a vague idea of it. Below,
the same prompt and the same noise go through {len(demo.outcomes)} ways to combine the networks.
LoRAtorio asks, at every place of the picture, which network departs most from the base model there, and lets
that one speak: at a few steps, called looks, or at every step.</p>
</header>"""


def _pictures(demo: Demo) -> str:
    rows = "\n".join(_method(demo, outcome) for outcome in demo.outcomes)
    return f"""<h2>The pictures</h2>
<p>One column for each seed. A filled dot: the judge, a small classifier trained beside the model, finds
that network's concept in the picture. An empty ring: it does not.</p>
<div class="methods" style="--count: {len(demo.seeds)}">
{rows}
</div>"""


def _method(demo: Demo, outcome: Outcome) -> str:
    label = escape(outcome.method.label)
    figures = "".join(
        f"<figure>{_img(picture, f'{outcome.method.label}, seed {seed}')}"
        f'<ul class="found">{"".join(_verdicts(demo, outcome, place))}</ul></figure>'
        for place, (seed, picture) in enumerate(zip(demo.seeds, outcome.images, strict=True))
    )
    ours = " ours" if outcome is demo.composed else ""
    return (
        f'<div class="method{ours}"><div><h3>{label}</h3><p class="note">{escape(outcome.method.about)}</p>'
        f'</div><div class="pictures">{figures}</div></div>'
    )


def _verdicts(demo: Demo, outcome: Outcome, place: int) -> Iterator[str]:
    """A dot or a ring for each concept."""
    for index, wanted in enumerate(demo.wanted):
        found = outcome.found(place, wanted)
        text = escape(
            f"{wanted.value} {'found' if found else 'not found'}, "
            f"probability {outcome.probability(place, wanted):.2f}"
        )
        yield (
            f'<li class="{"yes" if found else "no"}" style="--network: {network_color(index)}"'
            f' title="{text}" aria-label="{text}"></li>'
        )


def _who_speaks(demo: Demo) -> Iterator[str]:
    """The inspector's view of LoRAtorio's run, for each seed; nothing where no step composed."""
    if not demo.maps()[0]:
        return
    outcome = demo.composed
    pictures = pictures_in_batches(outcome.images, len(demo.seeds), demo.seeds)
    run = FinishedRun(demo.prompt, "", pictures, (PassRecord(0, False, outcome.report),))
    record = Record(1, now(), run)
    first, *others = [_view(demo, select(record, picture=place)) for place in range(len(demo.seeds))]
    more = "".join(
        f"<details><summary>The same for seed {seed}</summary>{html}</details>"
        for seed, html in zip(demo.seeds[1:], others, strict=True)
    )
    yield f"""<h2>Who speaks where</h2>
<p>The weights that LoRAtorio gave to each network, for seed {demo.seeds[0]}. At every place the weights of
all networks add up to one. A network that departs far from the base model in a small place only, such as an
object's, has a modest mean and a bright spot in its map.</p>
{first}
{more}"""


def _view(demo: Demo, selection: Selection) -> str:
    words = Words()
    networks = networks_in(demo.composed.report, selection.image)
    steps, maps = demo.maps()
    scale = scale_of([maps])
    numbers = ", ".join(str(step + 1) for step in steps)
    strips = "".join(
        f"<figure>{_img(strip(maps[:, place, selection.image], scale, PATCH_PIXELS * maps.shape[-1]), alt)}"
        f"<figcaption>{named(networks, index, words)}</figcaption></figure>"
        for index, place in enumerate(networks.places)
        for alt in [f"weights of {networks.names[index]} at steps {numbers}"]
    )
    return (
        f"{who_html(selection, words)}{curves_html(selection, networks, words)}"
        f'<section class="strips"><h3>Every step</h3>{strips}</section>'
    )


def _img(picture: Image.Image, alt: str) -> str:
    return (
        f'<img src="{data_uri(picture)}" width="{picture.width}" height="{picture.height}"'
        f' alt="{escape(alt)}" title="{escape(alt)}">'
    )


def _figures(demo: Demo) -> str:
    pictures = len(demo.seeds)
    columns = (*(wanted.value for wanted in demo.wanted), "all", "rows", "calls", "seconds")
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    rows = []
    for outcome in demo.outcomes:
        totals = outcome.report.totals
        ratio = "" if totals.ratio is None else f" <small>{totals.ratio:.1f}×</small>"
        cells = [
            f"{outcome.count(wanted)} of {pictures} <small>{outcome.mean(wanted):.2f}</small>"
            for wanted in demo.wanted
        ]
        cells += [f"{outcome.count(*demo.wanted)} of {pictures}", f"{totals.rows}{ratio}"]
        cells += [f"{totals.calls}", f"{totals.seconds:.1f}"]
        ours = ' class="ours"' if outcome is demo.composed else ""
        rows.append(
            f'<tr{ours}><th scope="row">{escape(outcome.method.label)}</th>'
            f"{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        )
    return f"""<h2>What the judge found, and what it cost</h2>
<div class="scroll"><table>
<thead><tr><th></th>{head}</tr></thead>
<tbody>{"".join(rows)}</tbody>
</table></div>
<p class="note">Small figures: the judge's mean probability; rows as a multiple of a plain generation.
A row is one prediction of the model for one picture at one step; seconds are spent in the model and in
composing, for all {pictures} pictures. So few pictures show how each method works, not how well: for that,
many prompts and seeds are needed.</p>"""


def _made_with(demo: Demo) -> str:
    values = demo.settings.to_dict().items()
    settings = ", ".join(f"{name} {value}" for name, value in values if name != "enabled")
    tools = ("LoRAtorio {loratorio}, torch {torch}, Python {python}, {threads} threads on {machine}").format(
        **versions()
    )
    facts = (
        ("prompt", f"<code>{escape(demo.prompt)}</code>"),
        ("seeds", escape(", ".join(map(str, demo.seeds)))),
        ("sampler", f"{demo.steps} steps, guidance scale {demo.cfg:g}"),
        ("settings", escape(settings)),
        ("made with", escape(tools)),
        ("figures", '<a href="results.json">results.json</a>, with every step of every method'),
        ("method", "Foteinopoulou, Budvytis, Liwicki: LoRAtorio, arXiv 2508.11624"),
    )
    rows = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in facts)
    return f'<h2>How this was made</h2>\n<dl class="facts">{rows}</dl>'
