"""What the page says of a run, as HTML: that it goes on, how it ended, and why there is no picture."""

from __future__ import annotations

import base64
import io
from html import escape

from PIL import Image

from loratorio_ext.server.words import Words
from loratorio_ext.ui.page.generator import without_folders
from loratorio_ext.ui.page.runs import Finished, Progress


def said(text: str) -> str:
    """A sentence that is read out."""
    return f'<p role="status">{escape(text)}</p>'


def failed(text: str) -> str:
    """Why there is no picture; where the server keeps its files is nobody's business."""
    return f'<p class="loratorio-status-error" role="alert">{escape(without_folders(text))}</p>'


def progress(at: Progress, words: Words) -> str:
    """A run goes on, in words and as a bar."""
    where = words("Drawing picture {picture} of {pictures}", picture=at.picture, pictures=at.pictures)
    step = words("step {step} of {steps}", step=at.step, steps=at.steps)
    label = escape(words("Progress of this picture"))
    # Read out once a picture and not once a step: the bar says the steps to whoever asks.
    text = (
        f'<p role="status">{escape(where)}<span aria-hidden="true"> · {escape(step)}</span></p>'
        f'<progress aria-label="{label}" max="{max(at.steps, 1)}" value="{at.step}"></progress>'
    )
    return f'<div class="loratorio-status-run">{_sketched(at.sketch)}<div>{text}</div></div>'


def _sketched(image: Image.Image | None) -> str:
    if image is None:
        return ""
    data = io.BytesIO()
    image.save(data, "JPEG")
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(data.getvalue()).decode()}">'


def finished_run(finished: Finished, seconds: float, words: Words) -> str:
    """A run is over: how it ended, and what the user should know."""
    count, at = len(finished.drawn), finished.stopped
    text = words("{count} pictures in {seconds} s.", count=count, seconds=f"{seconds:.1f}")
    if count == 1:
        text = words("1 picture in {seconds} s.", seconds=f"{seconds:.1f}")
    if at is not None:
        text = words(
            "Stopped in picture {picture} of {pictures}, at step {step} of {steps}; finished pictures "
            "kept: {count}.",
            picture=at.picture,
            pictures=at.pictures,
            step=at.step,
            steps=at.steps,
            count=count,
        )
    items = "".join(f"<li>{escape(without_folders(note))}</li>" for note in finished.notes)
    return said(text) + (f'<ul class="loratorio-status-notes">{items}</ul>' if items else "")
