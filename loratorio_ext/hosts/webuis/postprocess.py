"""A finished generation is kept for the inspector, and who spoke where is shown in the gallery."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image

from loratorio_ext.hosts.webuis.adapter import Picture
from loratorio_ext.hosts.webuis.comments import SPEAKER, say
from loratorio_ext.hosts.webuis.generation import attempt
from loratorio_ext.run import Report
from loratorio_ext.server.history import FinishedRun, PassRecord, pictures_in_batches
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words

if TYPE_CHECKING:
    from loratorio_ext.hosts.webuis.webui import WebuiServices

Overlay = Callable[[Image.Image, Report, int, Words], Image.Image | None]
"""(picture, the pass that drew it, its place in the batch, language) → who spoke where; None: nobody did."""

_SUFFIX = "-loratorio"


class Postprocess:
    """Called once for every generation that composed; whatever fails here, the pictures stay as they are."""

    def __init__(self, webui: WebuiServices, server: Server, overlay: Overlay | None) -> None:
        """``overlay`` draws who spoke where."""
        self._webui = webui
        self._server = server
        self._overlay = overlay

    def __call__(self, p: Any, processed: Any, passes: Sequence[PassRecord]) -> None:
        """Keep and show.

        Args:
            p: of the generation.
            processed: the WebUI's answer; may get more pictures.
            passes: those that composed, in order.
        """
        reason = attempt(lambda: self._keep(p, processed, passes), "keeping a run")
        if reason is not None:
            say(p, f"this run could not be kept for the inspector ({reason}); the pictures are whole")
        reason = attempt(lambda: self._show(p, processed, passes), "drawing who spoke where")
        if reason is not None:
            say(p, f"the picture of who spoke where could not be made ({reason})")

    def _keep(self, p: Any, processed: Any, passes: Sequence[PassRecord]) -> None:
        if not self._server.history.keeps_runs():
            return
        pictures = self._pictures(p, processed)
        run = FinishedRun(
            prompt=str(processed.all_prompts[0]),
            infotext=pictures[0].infotext if pictures else str(processed.info),
            pictures=pictures_in_batches(
                [one.image for one in pictures], p.batch_size, [one.seed for one in pictures]
            ),
            passes=tuple(passes),
            comments=tuple(one.removeprefix(SPEAKER) for one in p.comments if one.startswith(SPEAKER)),
        )
        self._server.history.add(run)

    def _show(self, p: Any, processed: Any, passes: Sequence[PassRecord]) -> None:
        where = self._server.options().overlay
        if where == "off" or self._overlay is None:
            return
        words = self._server.words()
        drawn: list[tuple[Picture, Image.Image]] = []
        for picture in self._pictures(p, processed):
            report = _report_of(picture, passes)
            image = None if report is None else self._overlay(picture.image, report, picture.place, words)
            if image is not None:
                drawn.append((picture, image))
        for picture, image in drawn:
            if self._webui.marks_pictures():
                image.info["parameters"] = picture.infotext
            if where == "gallery and file" and p.save_samples():
                at = copy.copy(p)  # file names are numbered by this picture
                at.iteration, at.batch_index = picture.batch, picture.place
                self._webui.save_picture(at, image, picture, _SUFFIX)
        if drawn and not _runs_in_a_script(p):
            _add(processed, drawn)

    def _pictures(self, p: Any, processed: Any) -> tuple[Picture, ...]:
        """Only the pictures: no grid, no masks, nothing that other extensions have appended."""
        first, step, size = processed.index_of_first_image, self._webui.entries_of_picture(p), p.batch_size
        infotexts = processed.infotexts[first:]  # one for each picture, whatever else the gallery holds
        images = processed.images[first : first + step * len(infotexts) : step]
        prompts, seeds = processed.all_prompts, processed.all_seeds
        return tuple(
            Picture(image, place // size, place % size, int(seed), str(prompt), str(infotext))
            for place, (image, seed, prompt, infotext) in enumerate(
                zip(images, seeds, prompts, infotexts, strict=False)
            )
        )


def _report_of(picture: Picture, passes: Sequence[PassRecord]) -> Report | None:
    """The pass of the picture that shows the most: the one with the most maps, the last of several."""
    of_batch = [one.report for one in passes if one.batch == picture.batch]
    return max(reversed(of_batch), key=_maps, default=None)


def _maps(report: Report) -> int:
    return sum(step.maps is not None for step in report.steps)


def _runs_in_a_script(p: Any) -> bool:
    """Whether a script from the WebUI's script list made ``p``: some count the pictures (SD upscale).

    Source: ScriptRunner.run (modules/scripts.py).
    """
    selectable = getattr(p.scripts, "selectable_scripts", ())
    return bool(selectable and p.script_args and p.script_args[0])


def _add(processed: Any, drawn: Sequence[tuple[Picture, Image.Image]]) -> None:
    """Append, so that existing indices stay valid."""
    missing = len(processed.images) - len(processed.infotexts)  # masks have none
    # Lists of their own: scripts may hold on to these.
    processed.infotexts = [
        *processed.infotexts,
        *[processed.info] * max(missing, 0),
        *(picture.infotext for picture, _ in drawn),
    ]
    processed.images = [*processed.images, *(image for _, image in drawn)]
