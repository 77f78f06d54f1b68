"""The line that says before a run what it will cost, and the page's inputs on which that depends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from html import escape
from importlib import resources
from typing import Any, Final

import gradio as gr

from loratorio_ext.server.estimate import (
    PlannedSampling,
    cost_line,
    estimate,
    nothing_composed,
    nothing_to_compose,
)
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.settings import SETTINGS, settings_from_arguments
from loratorio_ext.ui.gradio_tools import HtmlBlock, asking, on_changes
from loratorio_ext.ui.panel.places import PlacePicker
from loratorio_ext.ui.panel.pool import PoolPicker, count_of_pool
from loratorio_ext.ui.panel.presets import PresetControls

BUTTON_CLASS: Final = "loratorio-estimate"
"""By this ``javascript/loratorio.js`` finds the button, which it presses while the user types."""

_PLACE_OF_POOL: Final = [one.name for one in SETTINGS].index("pool")
_MOST_STEPS: Final = 1000
_LARGEST_SCALE: Final = 8
_OF_TABS: Final = frozenset({"prompt", "steps", "cfg_scale"})
_WIDTH, _HEIGHT = 90, 28
# Thinner bars can't be told apart.
_MOST_BARS: Final = 70


@dataclass(frozen=True)
class PageInputs:
    """Gradio's components around the panel; None: not there, or made only after it.

    Attributes:
        prompt: the prompt's text box.
        steps: number of sampling steps.
        cfg_scale: the guidance scale; at 1 there is no unconditional prediction.
        image: a picture to start from.
        strength: its denoising strength.
        hires_scale: of a hires pass; 1 for none.
        hires_steps: of a hires pass; 0 for as many as ``steps``.
    """

    prompt: Any = None
    steps: Any = None
    cfg_scale: Any = None
    image: Any = None
    strength: Any = None
    hires_scale: Any = None
    hires_steps: Any = None

    @property
    def inputs(self) -> list[Any]:
        """Those that are there, in the order above."""
        every = (getattr(self, one.name) for one in fields(self))
        return [one for one in every if one is not None]

    def read(self, values: Sequence[object], server: Server) -> tuple[str, PlannedSampling]:
        """(prompt, sampling) from the values of ``inputs``; what is missing or odd has its default."""
        there = [one.name for one in fields(self) if getattr(self, one.name) is not None]
        found: dict[str, object] = dict(zip(there, values, strict=False))
        prompt = found.get("prompt")

        def number(name: str, lowest: float, highest: float, otherwise: float) -> float:
            # The page may be sent anything, and long lists take time.
            given = found.get(name)
            if not isinstance(given, int | float) or isinstance(given, bool):
                return otherwise
            return given if lowest <= given <= highest else otherwise

        steps = int(number("steps", 1, _MOST_STEPS, PlannedSampling.steps))
        scale = number("hires_scale", 1, _LARGEST_SCALE, 1)
        hires_steps = int(number("hires_steps", 1, _MOST_STEPS, steps)) if scale > 1 else 0
        if found.get("image") is not None:  # as the WebUIs count (modules/sd_samplers_common.py)
            steps = 1 + int(min(number("strength", 0, 1, 1), 0.999) * steps)
        sampling = PlannedSampling(
            steps=steps,
            hires_steps=hires_steps,
            hires_scale=scale,
            guided=server.guided(found.get("cfg_scale")),
            merged_on_top=server.merged_on_top,
            splits_at_and=server.splits_at_and,
            repeated=server.repeated,
            all_or_none=server.all_or_none,
        )
        return (prompt if isinstance(prompt, str) else ""), sampling


class TabInputs:
    """Collects the inputs of a WebUI's tab while the WebUI builds it, until the panel is built."""

    def __init__(self) -> None:
        self._found: dict[str, Any] = {}

    def notice(self, component: Any, elem_id: object, is_img2img: bool) -> None:
        """A component has been made (``Script.after_component``); ids are those of modules/ui.py."""
        tab, _, name = str(elem_id).partition("_")
        if tab == ("img2img" if is_img2img else "txt2img") and name in _OF_TABS:
            self._found[name] = component

    def take(self) -> PageInputs:
        """What has been noticed, once.

        The WebUI's API builds the panel again, outside of the page, where these components must not be used.
        """
        found, self._found = self._found, {}
        return PageInputs(**found)


class CostRow:
    """The line, a button that brings it up to date, and a box that shows the panel's long texts."""

    def __init__(self, server: Server, elem_id: Callable[[str], str], words: Words) -> None:
        """Build it inside the current block."""
        self._server = server
        start = cost_of(server, PageInputs(), [one.default for one in SETTINGS])
        with gr.Row(equal_height=False, elem_classes=["loratorio-top"]):
            self._line = HtmlBlock(start, elem_id("cost"))
            # Style sheets alone let it act (panel.css), so that it works in every gradio.
            explain = (
                f'<label><input type="checkbox" class="loratorio-explain">{escape(words("Explain"))}</label>'
            )
            HtmlBlock(explain, elem_id("explain"))
        # Typing needs no button where javascript/loratorio.js runs, which hides it.
        self._button = gr.Button(
            words("Show the cost"), elem_id=elem_id("estimate"), elem_classes=[BUTTON_CLASS], size="sm"
        )

    def connect(
        self,
        page_inputs: PageInputs,
        controls: Sequence[Any],
        presets: PresetControls,
        picker: PoolPicker,
        places: PlacePicker,
    ) -> None:
        """Keep all that follows from prompt and controls up to date; controls are as the settings are."""
        server, there, asked = self._server, len(page_inputs.inputs), len(places.inputs)

        def read(*values: object) -> tuple[str, int]:
            prompt, sampling = page_inputs.read(values, server)
            return prompt, sampling.steps

        def answer(listed: object, *given: object) -> list[Any]:
            values = given[asked:]
            own = values[there:]
            return [
                self._line.showing(cost_of(server, page_inputs, values)),
                picker.count.showing(escape(count_of_pool(server, own[_PLACE_OF_POOL]))),
                *presets.following(listed, own),
                *places.following(*read(*values[:there]), *given[:asked]),
            ]

        inputs = [presets.listed, *places.inputs, *page_inputs.inputs, *controls]
        outputs = [self._line.component, picker.count.component, *presets.parts, *places.parts]
        # The prompt changes with every key; javascript/loratorio.js waits for the end of a word.
        watched = [one for one in (*page_inputs.inputs, *controls) if one is not page_inputs.prompt]
        places.heed(on_changes(self._button, [one.change for one in watched], answer, inputs, outputs))
        if page_inputs.prompt is not None:
            places.connect(page_inputs.inputs, read, asking(self._button.elem_id))


def cost_of(server: Server, page_inputs: PageInputs, values: Sequence[object]) -> str:
    """The estimate as HTML: a sentence, a small picture of the steps, and what to expect.

    ``values``: of ``page_inputs.inputs``, then of the panel's controls; anything gets an answer.
    """
    places = len(page_inputs.inputs)
    prompt, sampling = page_inputs.read(values[:places], server)
    words, obstacle = server.words(), server.obstacle()
    try:
        settings = settings_from_arguments(values[places:])
    except ValueError as error:
        return _html("", "", [str(error)])
    # The cost is known before the box is ticked.
    found = estimate(
        prompt,
        replace(settings, enabled=True),
        server.networks(),
        sampling,
        words,
        server.triggers,
        server.misfit,
    )
    if obstacle:  # perhaps a WebUI whose networks are not known either
        return _html("", "", [nothing_composed(obstacle, words), *(found.notes if server.networks() else ())])
    remark = server.remark()
    obstacles = [remark] if remark else []
    if not found.composed:
        # What is wrong with the tags that are there says enough.
        wrong = [note for note in found.notes if note != nothing_to_compose(words)]
        sentence = words("No network to compose yet: name some in the prompt, such as <lora:name:1>.")
        return _html("" if wrong else sentence, "", [*obstacles, *wrong], "quiet")
    sentence = cost_line(found, words)
    if not settings.enabled:
        sentence = words("Off. If switched on: {cost}", cost=sentence)
    bars = _bars(found.rows, found.plain_rows, words)
    return _html(sentence, bars, [*obstacles, *found.notes], "said" if settings.enabled else "quiet")


def _html(sentence: str, picture: str, notes: Iterable[str], look: str = "said") -> str:
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    style = resources.files(__package__).joinpath("panel.css").read_text("utf-8")
    unbroken = escape(sentence).replace(" ×", "&nbsp;×")
    said = f'<p class="{look}">{picture}<span>{unbroken}</span></p>' if sentence else ""
    # javascript/loratorio.js makes what stands around it a live region: this is replaced as a whole.
    return f'<style>{style}</style><div class="loratorio-cost">{said}{listed and f"<ul>{listed}</ul>"}</div>'


def _bars(rows: Sequence[int], plain_rows: int, words: Words) -> str:
    """Predictions at each step as bars, the part of plain generation in another color."""
    shown = rows[:: -(-len(rows) // _MOST_BARS)]
    width, highest = _WIDTH / len(shown), max(*shown, plain_rows)
    drawn = "".join(
        f'<rect class="{name}" x="{place * width:.2f}" y="{_HEIGHT - _HEIGHT * value / highest:.2f}" '
        f'width="{width * 0.8:.2f}" height="{_HEIGHT * value / highest:.2f}"/>'
        for place, all_rows in enumerate(shown)
        for name, value in (("all", all_rows), ("plain", min(all_rows, plain_rows)))
    )
    title = words("Predictions at each step; the lower part is what a plain generation takes")
    return (
        f'<svg role="img" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}">'
        f"<title>{escape(title)}</title>{drawn}</svg>"
    )
