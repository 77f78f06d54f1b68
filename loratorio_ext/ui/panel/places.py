"""Where in the picture and at which steps each network may speak: chosen here, written into its tag."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from html import escape
from typing import Any, Final

import gradio as gr

from loratorio_ext.networks.arguments import Area, Window, with_fade
from loratorio_ext.networks.prompt import Tag, parse_prompt
from loratorio_ext.plots.colors import network_color
from loratorio_ext.server.estimate import LONGEST_PROMPT
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.ui.gradio_tools import QUIET, HtmlBlock, not_saved, on_changes, script

# As they lie in the picture, row by row, three in a row; panel.css lays the buttons out so.
PLACES: Final = (
    *("top-left", "top", "top-right"),
    *("left", "middle", "right"),
    *("bottom-left", "bottom", "bottom-right"),
)
EVERYWHERE: Final = "everywhere"
_WIDTH, _HEIGHT = 120, 90
# Cells of a side, where a tag has no mask of its own.
_CELLS: Final = 8
# More cannot be told apart in a small picture.
_MOST_SHOWN: Final = 8
# (what was asked with and what the prompt says, then what there is now) → what is to change, and no more.
_HEED: Final = """(news, ...values) => {
    const now = values.slice(0, 5); // gradio 3 and 4 add what the outputs have
    const [asked, wanted] = JSON.parse(news || "[[], []]");
    const goes = asked[0] === now[0] && wanted[0] !== now[0];
    return now.map((one, place) =>
        goes && one === asked[place] && one !== wanted[place] ? wanted[place] : { __type__: "update" });
}"""
_TAG: Final = re.compile(r"<(lora|lyco):([^<>]{1,2000})>")


class PlacePicker:
    """The prompt's networks, nine places, a grid to paint on, two sliders for the steps, and a small picture.

    The prompt alone counts: the controls follow it, and only what the user does with them is written. An
    answer may come late, when the user has gone on: see `heed`.

    Attributes:
        inputs: what `following` is given after prompt and steps, in its order.
        parts: what `following` updates.
    """

    def __init__(self, server: Server, elem_id: Callable[[str], str], words: Words) -> None:
        """Build it inside the current block."""
        self._words = server.words
        labels = (
            *(words("top left"), words("top"), words("top right")),
            *(words("left"), words("middle"), words("right")),
            *(words("bottom left"), words("bottom"), words("bottom right")),
            words("everywhere"),
        )
        self._labels = dict(zip((*PLACES, EVERYWHERE), labels, strict=True))
        # The names that the list has on this page, kept by gradio for each page by itself.
        self._listed = gr.State([])
        # What the prompt says that the controls show or have written; and an answer that is to be looked at.
        self._told, self._news = (not_saved(gr.Textbox(visible=False)) for _ in range(2))
        with gr.Row(equal_height=False):
            with gr.Column(min_width=200):
                self._network = not_saved(
                    gr.Dropdown(
                        choices=[],
                        value=None,
                        label=words("Network of the prompt"),
                        info=words("What is chosen here is written into its tag, as at= and steps=."),
                        interactive=True,
                        # gradio would refuse a name that another answer has taken out of the list meanwhile.
                        allow_custom_value=True,
                        elem_id=elem_id("place_network"),
                    )
                )
                self._picture = HtmlBlock("", elem_id("place_picture"))
            with gr.Column(min_width=200):
                self._place = not_saved(
                    gr.Radio(
                        choices=list(labels),
                        value=labels[-1],
                        label=words("Place"),
                        info=words(
                            "The part of the picture in which it may speak. Other rectangles are written "
                            "into the tag by hand, as fractions of width and height: at=0.5-1,0-0.4."
                        ),
                        interactive=True,
                        elem_id=elem_id("place_at"),
                    )
                )
                # javascript/loratorio.js hides both, and works them for what is painted on the grid.
                self._mask = not_saved(
                    gr.Textbox(
                        value="",
                        label=words("Mask"),
                        info=words(
                            "Rows of 0 and 1 from the top, with / between them; 1: here it may speak."
                        ),
                        interactive=True,
                        elem_id=elem_id("place_mask"),
                        elem_classes=["loratorio-mask"],
                    )
                )
                self._masked = gr.Button(
                    words("Write the mask"),
                    size="sm",
                    elem_id=elem_id("place_masked"),
                    elem_classes=["loratorio-mask"],
                )
        with gr.Row():
            about = words("Fraction of the steps from which on, or up to which, it acts.")
            more: dict[str, Any] = {"info": about, "step": 0.05, "interactive": True, "min_width": 140}
            self._first, self._last = (
                not_saved(gr.Slider(0, 1, value=value, label=label, elem_id=elem_id(name), **more))
                for value, label, name in (
                    (0.0, words("Acts from"), "place_first"),
                    (1.0, words("Acts until"), "place_last"),
                )
            )
        # Hidden by panel.css: place and steps are written when these are clicked.
        self._placed, self._stepped = (
            gr.Button("", elem_id=elem_id(name), elem_classes=["loratorio-write"])
            for name in ("place_placed", "place_stepped")
        )
        self._controls = [self._place, self._mask, self._first, self._last]
        self.inputs = [self._listed, self._network, self._told, *self._controls]
        self.parts = [self._network, self._listed, self._news, self._picture.component]

    def following(self, prompt: str, total: int, listed: object, chosen: object, *asked: object) -> list[Any]:
        """Updates of ``parts`` from the prompt, the number of steps, and the values of ``inputs``."""
        tags = _tags_of(prompt)
        names = list(tags)
        name = chosen if isinstance(chosen, str) and chosen in tags else next(iter(names), None)
        # gradio 4 leaves only the chosen name in a list that gets names while it is open; and another one may
        # have been chosen since this was asked.
        there = {} if names == listed and name == chosen else {"choices": names, "value": name}
        tag = tags.get(name) if name is not None else None
        mask = mask_of(tag.own.at) if tag is not None else ""
        grid = grid_of(mask, network_color(names.index(name)), self._words()) if name is not None else ""
        word = EVERYWHERE if tag is None else word_of(tag.own.at)
        span = span_of("" if tag is None else tag.own.steps, total)
        wanted = (_told_of(tag), self._labels.get(word), mask, *span)
        return [
            gr.update(**there),
            names,
            json.dumps([asked, wanted]),
            self._picture.showing(picture_of(list(tags.values()), total, self._words(), grid)),
        ]

    def heed(self, event: Any) -> None:
        """After an event that has updated ``parts``: in the browser, the controls follow the prompt.

        Only while it says something else than they were told when this was asked, and each of them only if
        the user has not gone on with it since.
        """
        controls = [self._told, *self._controls]
        event.then(None, [self._news, *controls], controls, **script(event.then, _HEED))

    def connect(self, page: Sequence[Any], read: Callable[..., tuple[str, int]], then: str) -> None:
        """Let the controls write the prompt, after which the JavaScript ``then`` runs.

        ``page``: the prompt first, then what else ``read`` needs to know prompt and number of steps.
        """
        prompt, count = page[0], len(page)
        words = {label: word for word, label in self._labels.items()}

        def choose(*values: Any) -> list[Any]:
            return self.following(*read(*values[:count]), None, *values[count:])[2:]

        def written(text: object, chosen: object, **arguments: str) -> list[Any]:
            """Prompt, what the controls are told, and updates of place and mask: of the one not written."""
            said = with_arguments(_text(text), chosen, **arguments)
            tag = _tags_of(said).get(_text(chosen))
            if said == text or tag is None:
                return [gr.update() for _ in range(4)]
            place, mask = self._labels.get(word_of(tag.own.at)), mask_of(tag.own.at)
            return [said, _told_of(tag), gr.update(value=place), gr.update(value=mask)]

        def place(text: object, chosen: object, label: object) -> list[Any]:
            word = words.get(_text(label))
            if word is None:
                return [gr.update() for _ in range(3)]
            found = written(text, chosen, at="" if word == EVERYWHERE else word)
            return [*found[:2], found[3]]

        def mask(text: object, chosen: object, rows: object) -> list[Any]:
            at = _text(rows).strip()
            try:
                everywhere = not at.strip("0/") or Area.parse(at) == Area()
            except ValueError:
                return [gr.update() for _ in range(3)]
            return written(text, chosen, at="" if everywhere else at)[:3]

        def steps(text: object, chosen: object, first: object, last: object) -> list[Any]:
            try:
                low, high = sorted((float(first), float(last)))  # type: ignore[arg-type] # caught below
                window = Window.parse(f"{low:g}-{high:g}")
            except (TypeError, ValueError):
                return [gr.update() for _ in range(2)]
            said = "" if (window.start, window.end) == (0, 1) else f"{low:g}-{high:g}"
            return written(text, chosen, steps=said)[:2]

        inputs = [*page, *self.inputs[1:]]
        self.heed(self._network.input(choose, inputs, self.parts[2:], **QUIET))
        given, told, spans = [prompt, self._network], [prompt, self._told], [self._first, self._last]
        for button, events, answer, controls, other in (
            (self._placed, [self._place.input], place, [self._place], [self._mask]),
            (self._masked, [], mask, [self._mask], [self._place]),
            (self._stepped, [one.input for one in spans], steps, spans, []),
        ):
            done = on_changes(button, events, answer, [*given, *controls], [*told, *other])
            done.then(None, **script(done.then, then))


def _tags_of(prompt: str) -> dict[str, Tag]:
    """The composed networks of a prompt."""
    return {tag.name: tag for tag in parse_prompt(prompt[:LONGEST_PROMPT]).tags if tag.compose}


def _told_of(tag: Tag | None) -> str:
    """All that the controls show of a tag."""
    return "" if tag is None else f"{tag.name} {tag.own.at} {tag.own.steps}"


def with_arguments(prompt: str, name: object, **arguments: str) -> str:
    """The prompt in which all tags of a network have these arguments; "": they have it no longer."""

    def changed(found: re.Match[str]) -> str:
        first, *items = with_fade(found[2].split(":"))
        if first.strip(" ") != name:
            return found[0]
        kept = [one for one in items if one.partition("=")[0].strip(" ") not in arguments]
        added = [f"{key}={value}" for key, value in arguments.items() if value]
        return f"<{found[1]}:{':'.join((first, *kept, *added))}>"

    return _TAG.sub(changed, prompt)


def span_of(steps: str, total: int) -> tuple[float, float]:
    """From which fraction of so many steps on, and up to which, a tag's ``steps=`` lets it act."""
    window = Window.parse(steps)
    unit = total if window.counted else 1
    return round(min(window.start / unit, 1), 2), round(min(window.end / unit, 1), 2)


def word_of(at: str) -> str:
    """The place that a tag names; "": it is none of ours, but a rectangle of its own."""
    if not at:
        return EVERYWHERE
    area = Area.parse(at)
    if area == Area():
        return EVERYWHERE
    return next((word for word in PLACES if Area.parse(word) == area), "")


def mask_of(at: str) -> str:
    """The mask that a tag has, or the nearest to its rectangle; nothing but 0: it may speak everywhere."""
    area = Area.parse(at) if at else Area()
    cells = area.cells
    if area == Area():
        cells = ((0,) * _CELLS,) * _CELLS
    elif len(cells) == len(cells[0]) == 1:
        ((across,), (down,)) = (area.shares(axis, _CELLS) for axis in (0, 1))
        cells = tuple(tuple(int(high * wide >= 0.5) for wide in across) for high in down)
    return "/".join("".join(map(str, row)) for row in cells)


def grid_of(mask: str, color: str, words: Words) -> str:
    """The cells of a mask, which javascript/loratorio.js lets the user paint."""
    rows = mask.split("/")
    cells = "".join(
        f'<rect x="{x}" y="{y}" width="1" height="1" class="{("off", "on")[int(cell)]}"/>'
        for y, row in enumerate(rows)
        for x, cell in enumerate(row)
    )
    title = words(
        "Paint where it may speak: press and drag; from a painted cell on, this erases. "
        "Nothing painted: everywhere"
    )
    return (
        f'<div class="loratorio-grid"><svg role="img" viewBox="0 0 {len(rows[0])} {len(rows)}" '
        f'data-columns="{len(rows[0])}" preserveAspectRatio="none" width="{_WIDTH}" height="{_HEIGHT}" '
        f'fill="{color}"><title>{escape(title)}</title>{cells}</svg>'
        f'<p>{escape(words("Paint its place"))} <button type="button">{escape(words("Clear"))}</button></p>'
        "</div>"
    )


def picture_of(tags: Sequence[Tag], total: int, words: Words, grid: str = "") -> str:
    """Where each network may speak, under it a line of its steps for each; beside it the HTML ``grid``."""
    if not tags:
        return ""
    shown = tags[:_MOST_SHOWN]
    areas = [Area.parse(tag.own.at) if tag.own.at else Area() for tag in shown]
    drawn = []
    for place, (area, tag) in enumerate(zip(areas, shown, strict=True)):
        start, end = span_of(tag.own.steps, total)
        color, inset = network_color(place), 1.5 + 2 * place
        x, y = area.left * _WIDTH + inset, area.top * _HEIGHT + inset
        width = max((area.right - area.left) * _WIDTH - 2 * inset, 1)
        height = max((area.bottom - area.top) * _HEIGHT - 2 * inset, 1)
        drawn.append(
            _cells_of(area, color)
            if len(area.cells) * len(area.cells[0]) > 1
            else f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="{color}" fill-opacity="0.15" stroke="{color}" stroke-width="2"/>'
        )
        drawn.append(
            f'<rect x="{start * _WIDTH:.1f}" y="{_HEIGHT + 4 + 5 * place}" '
            f'width="{max((end - start) * _WIDTH, 1):.1f}" height="3" fill="{color}"/>'
        )
    rows = "".join(
        f'<li><span style="background:{network_color(place)}"></span>{escape(tag.name[:60])}</li>'
        for place, tag in enumerate(shown)
    )
    title = escape(words("Where each network may speak; the lines below: at which steps"))
    tall = _HEIGHT + 4 + 5 * len(shown)
    return (
        f'<div class="loratorio-places"><svg role="img" viewBox="0 0 {_WIDTH} {tall}" width="{_WIDTH}" '
        f'height="{tall}"><title>{title}</title>{"".join(drawn)}</svg>{grid}<ul>{rows}</ul></div>'
    )


def _cells_of(area: Area, color: str) -> str:
    """The painted cells of a mask, as one shape."""
    width, height = _WIDTH / len(area.cells[0]), _HEIGHT / len(area.cells)
    shape = "".join(
        f"M{x * width:.2f} {y * height:.2f}h{width:.2f}v{height:.2f}h-{width:.2f}z"
        for y, row in enumerate(area.cells)
        for x, cell in enumerate(row)
        if cell
    )
    return f'<path d="{shape}" fill="{color}" fill-opacity="0.4"/>'


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
