"""The line that says before a run what it will cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from importlib import resources

from loratorio_ext.server.estimate import Estimate, cost_line
from loratorio_ext.server.words import Words

_WIDTH, _HEIGHT = 140, 28
# Thinner bars can't be told apart.
_MOST_BARS = 70


def cost_html(found: Estimate, obstacle: str | None, enabled: bool, words: Words) -> str:
    """The estimate in a sentence, a small picture of the steps, and what will not be as one may think.

    Args:
        found: for ``enabled`` settings, so that the cost is known before the box is ticked.
        obstacle: why nothing can be composed with the model that is loaded, or None.
        enabled: whether the box is ticked.
        words: the language.
    """
    if not found.composed:
        sentence = words("No network to compose yet: name some in the prompt, such as <lora:name:1>.")
        return _line(sentence, "", [obstacle] if obstacle else [], quiet=True)
    sentence = cost_line(found, words)
    if not enabled:
        sentence = words("Off. Switched on: {cost}", cost=sentence)
    notes = ([obstacle] if obstacle else []) + list(found.notes)
    return _line(sentence, _bars(found.rows, found.plain_rows, words), notes, quiet=not enabled)


def problem_html(problem: str) -> str:
    """Settings that do not go together."""
    return _line("", "", [problem], quiet=False)


def _line(sentence: str, picture: str, notes: Iterable[str], *, quiet: bool) -> str:
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    style = resources.files(__package__).joinpath("panel.css").read_text("utf-8")
    said = f'<p class="{"quiet" if quiet else "said"}">{picture}<span>{escape(sentence)}</span></p>'
    return (
        # javascript/loratorio.js makes what stands around it a live region: this is replaced as a whole.
        f'<style>{style}</style><div class="loratorio-cost">'
        f"{said if sentence else ''}{f'<ul>{listed}</ul>' if listed else ''}</div>"
    )


def _bars(rows: Sequence[int], plain_rows: int, words: Words) -> str:
    """Predictions at each step as bars, the part of plain generation in another color."""
    shown = rows[:: -(-len(rows) // _MOST_BARS)]
    highest = max(*shown, plain_rows)
    width = _WIDTH / len(shown)

    def bar(place: int, value: int, name: str) -> str:
        height = _HEIGHT * value / highest
        left, top = place * width, _HEIGHT - height
        return (
            f'<rect class="{name}" x="{left:.2f}" y="{top:.2f}" width="{width * 0.8:.2f}" '
            f'height="{height:.2f}"/>'
        )

    drawn = "".join(
        bar(place, value, "all") + bar(place, min(value, plain_rows), "plain")
        for place, value in enumerate(shown)
    )
    title = words("Predictions at each step; the lower part is what a plain generation takes")
    return (
        f'<svg role="img" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}">'
        f"<title>{escape(title)}</title>{drawn}</svg>"
    )
