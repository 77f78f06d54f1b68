"""What is going on, in words and as a bar; strangers' texts are escaped."""

from __future__ import annotations

from html import escape

from loratorio_ext.server.words import Words
from loratorio_ext.ui.page.runs import Finished, Progress


def said(text: str) -> str:
    """One sentence."""
    return f'<p role="status">{escape(text)}</p>'


def failed(text: str) -> str:
    """Why there is no picture."""
    return f'<p class="loratorio-status-error" role="alert">{escape(text)}</p>'


def progress_html(progress: Progress, words: Words) -> str:
    """A run goes on."""
    where = words(
        "Drawing picture {picture} of {pictures}", picture=progress.picture, pictures=progress.pictures
    )
    step = words("step {step} of {steps}", step=progress.step, steps=progress.steps)
    label = escape(words("Progress of this picture"))
    # Read out once a picture and not once a step: the bar says the steps to whoever asks.
    return (
        f'<p role="status">{escape(where)}<span aria-hidden="true"> · {escape(step)}</span></p>'
        f'<progress aria-label="{label}" max="{max(progress.steps, 1)}" value="{progress.step}"></progress>'
    )


def finished_html(finished: Finished, seconds: float, words: Words) -> str:
    """A run is over: how it ended, and what the user should know."""
    count = len(finished.drawn)
    time = f"{seconds:.1f}"
    text = words("{count} pictures in {seconds} s.", count=count, seconds=time)
    if count == 1:
        text = words("1 picture in {seconds} s.", seconds=time)
    if finished.stopped is not None:
        at = finished.stopped
        text = words(
            "Stopped in picture {picture} of {pictures}, at step {step} of {steps}; finished pictures "
            "kept: {count}.",
            picture=at.picture,
            pictures=at.pictures,
            step=at.step,
            steps=at.steps,
            count=count,
        )
    items = "".join(f"<li>{escape(note)}</li>" for note in finished.notes)
    return said(text) + (f'<ul class="loratorio-status-notes">{items}</ul>' if items else "")
