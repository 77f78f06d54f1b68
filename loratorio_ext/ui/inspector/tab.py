"""The inspector's tab: its controls, for gradio 3.41 to 6, what they are answered, and files to download."""

from __future__ import annotations

import math
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gradio as gr
from gradio.context import Context
from PIL import Image

from loratorio_ext.plots.pictures import overlay, png, scale_of
from loratorio_ext.server.history import PassRecord, PictureRecord, Record
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.ui.gradio_tools import not_saved, on_changes
from loratorio_ext.ui.inspector.pictures import page_size, who_spoke, with_legend
from loratorio_ext.ui.inspector.selection import STRENGTH, Selection, select
from loratorio_ext.ui.inspector.view import gone, nothing_yet, view

LONGEST_PROMPT: Final = 60
PREFIX: Final = "loratorio_inspector_"
KEPT_FOLDERS: Final = 8
"""Folders of earlier downloads that may still be in use; older ones are removed."""
_SIDE: Final = 768
_TAGS: Final = re.compile(r"<[^<>]{0,200}>")
_NUMBER: Final = re.compile(r"\s*([0-9]{1,9})\b")

Event = tuple[Callable[..., list[Any]], list[Any], list[Any]]
"""(what answers, its inputs, its outputs)."""


def build_inspector(
    server: Server, elem_prefix: str = "loratorio_inspector", words: Words | None = None
) -> Event:
    """Build the inspector inside the current gradio Blocks; gives the event that shows the newest run.

    Args:
        server: asked anew at every event.
        elem_prefix: with what all elements' ids begin.
        words: the language of labels and help; English in a WebUI, which translates its page itself and
            writes labels into a file of start values. What the server answers is in the server's language.
    """
    words, page = words or Words(), page_of(server, Controls())

    def made(component: Any, name: str, label: str, info: str, value: object, **more: Any) -> Any:
        elem_id = f"{elem_prefix}_{name}"
        return component(label=label, info=info, value=value, interactive=True, elem_id=elem_id, **more)

    def dropdown(name: str, label: str, info: str, choices: Sequence[str], value: object, **more: Any) -> Any:
        """A list whose entries mean nothing for the next run."""
        return not_saved(made(gr.Dropdown, name, label, info, value, choices=list(choices), **more))

    with gr.Row():
        about = words("Number, time and first words of the prompt; the newest comes first.")
        run = dropdown("run", words("Run"), about, page.runs, page.run, scale=4)
        refresh = gr.Button(
            # A WebUI's page leaves texts with such a sign alone (javascript/localization.js).
            "🔄 " + server.words()("Refresh and show the newest run"),
            scale=1,
            min_width=200,
            elem_id=f"{elem_prefix}_refresh",
        )
    with gr.Row():
        about = words("Which picture of the run to look at.")
        picture = dropdown("picture", words("Picture"), about, page.pictures, page.picture)
        about = words(
            "The picture was drawn in several passes, for example a hires pass. Which one to look at."
        )
        several = len(page.passes) > 1
        sampling_pass = dropdown(
            "pass", words("Pass"), about, page.passes, page.sampling_pass, visible=several
        )
    with gr.Row():
        about = words("Which step to look at. 0: the mean over all steps.")
        look: dict[str, Any] = {"minimum": 0, "min_width": 260}
        ends = {"maximum": page.last_step, "step": 1, **look}
        step = not_saved(made(gr.Slider, "step", words("Step"), about, page.step, **ends))
        about = words("How strongly the colors cover the picture. 0: the picture alone. 1: colors on grey.")
        label = words("Strength of colors")
        strength = made(gr.Slider, "strength", label, about, STRENGTH, maximum=1, step=0.05, **look)
    html = gr.HTML(value=page.html, elem_classes=[f"{elem_prefix}_view"])
    redraw = gr.Button("", elem_id=f"{elem_prefix}_redraw", elem_classes=["loratorio-redraw"])  # hidden
    about = words("Make files to download: the report, and the pictures as shown")
    make = gr.Button(about, elem_id=f"{elem_prefix}_make_files")
    hidden = {"interactive": False, "visible": False, "elem_id": f"{elem_prefix}_files"}
    files = gr.File(label=words("Files"), file_count="multiple", **hidden)
    choice = [run, picture, sampling_pass, step, strength]
    shown = [run, picture, sampling_pass, step, html, files]

    def newest(strength: object) -> list[Any]:
        return updates_of(page_of(server, Controls(strength=strength)))

    def follow(*values: object) -> list[Any]:
        return updates_of(page_of(server, Controls(*values)))

    def draw(*values: object) -> Any:
        return gr.update(value=page_of(server, Controls(*values)).html)

    def write(*values: object) -> Any:
        paths = files_of(server, Controls(*values))
        return gr.update(value=paths or None, visible=bool(paths))

    refresh.click(newest, [strength], shown, queue=False)
    # What the program sets is no input: only the user's own choice starts another round.
    for one in (run, picture, sampling_pass):
        one.input(follow, choice, shown, queue=False)
    # Change, not release: the keyboard moves sliders too.
    on_changes(redraw, [step.change, strength.change], draw, choice, [html])
    make.click(write, choice, [files], queue=False)
    # A page that is opened later than it was built shows what was done in between.
    if Context.root_block is not None:
        Context.root_block.load(newest, [strength], shown, queue=False)
    return newest, [strength], shown


def updates_of(page: Page) -> list[Any]:
    """A page as gradio's updates of run, picture, pass, step, view and files."""
    return [
        gr.update(choices=list(page.runs), value=page.run),
        gr.update(choices=list(page.pictures), value=page.picture),
        gr.update(choices=list(page.passes), value=page.sampling_pass, visible=len(page.passes) > 1),
        gr.update(maximum=page.last_step, value=page.step),
        gr.update(value=page.html),
        gr.update(value=None, visible=False),
    ]


@dataclass(frozen=True)
class Controls:
    """The values of the tab's controls, as gradio hands them over.

    Entries of drop-down lists are texts that begin with a number, which every gradio takes and gives back.

    Attributes:
        run: an entry of the list of runs; None or anything else that names no run: the newest.
        picture: an entry of the list of pictures.
        sampling_pass: an entry of the list of passes.
        step: the slider; 0 is the mean over all steps.
        strength: the slider, 0 … 1.
    """

    run: object = None
    picture: object = None
    sampling_pass: object = None
    step: object = 0
    strength: object = STRENGTH

    def record(self, server: Server) -> Record | None:
        """The run; None where there is none, or it is no longer kept."""
        number = _number_in(self.run)
        if number is not None:
            return server.history.record(number)
        return next(iter(server.history.records()), None)

    def select(self, record: Record) -> Selection:
        """What they mean in a run."""
        return select(
            record,
            (_number_in(self.picture) or 1) - 1,
            (_number_in(self.sampling_pass) or 1) - 1,
            round(_finite(self.step, 0)),
            _finite(self.strength, STRENGTH),
        )


@dataclass(frozen=True)
class Page:
    """What the tab shows after a choice.

    Attributes:
        html: the view.
        runs, pictures, passes: entries of the lists; of runs the newest first.
        run, picture, sampling_pass: the chosen entries; None where there is none, or it is no longer kept.
        step: the step that is looked at.
        last_step: the highest step that can be chosen, at least 1.
    """

    html: str
    runs: tuple[str, ...]
    run: str | None = None
    pictures: tuple[str, ...] = ()
    picture: str | None = None
    passes: tuple[str, ...] = ()
    sampling_pass: str | None = None
    step: int = 0
    last_step: int = 1


def page_of(server: Server, controls: Controls) -> Page:
    """All entries and the view for a choice; what does not fit the run is brought into its range."""
    words = server.words()
    runs = tuple(_run_label(record) for record in server.history.records())
    record = controls.record(server)
    if record is None:
        number = _number_in(controls.run)
        kept = server.options().history > 0
        return Page(gone(number, words) if number is not None else nothing_yet(words, kept=kept), runs)
    chosen = controls.select(record)
    pictures = [(one, _picture_label(place, one, words)) for place, one in enumerate(record.run.pictures, 1)]
    passes = [(one, _pass_label(place, one, words)) for place, one in enumerate(chosen.passes, 1)]
    return Page(
        html=view(chosen, words),
        runs=runs,
        run=_run_label(record),
        pictures=tuple(label for _, label in pictures),
        picture=next((label for one, label in pictures if one is chosen.picture), None),
        passes=tuple(label for _, label in passes),
        sampling_pass=next((label for one, label in passes if one is chosen.sampling_pass), None),
        step=chosen.step,
        last_step=max(1, len(chosen.steps)),
    )


def files_of(server: Server, controls: Controls) -> list[str]:
    """Write what there is of report and pictures into a new temporary folder.

    Returns:
        Paths of the files: a JSON file where a pass is known, a zip where there is a picture; none where the
        run is no longer kept.
    """
    record = controls.record(server)
    if record is None:
        return []
    selection = controls.select(record)
    remove_old_folders(Path(tempfile.gettempdir()))
    stem = Path(tempfile.mkdtemp(prefix=PREFIX)) / f"loratorio-run-{record.number}"
    paths = []
    if selection.report is not None:
        paths.append(f"{stem}-report.json")
        Path(paths[-1]).write_text(selection.report.to_json(), encoding="utf-8")
    if selection.picture is not None:
        paths.append(f"{stem}-step-{selection.step}.zip" if selection.step else f"{stem}-mean.zip")
        with zipfile.ZipFile(paths[-1], "w") as archive:
            for name, picture in _pictures(selection, server.words()).items():
                archive.writestr(name, png(picture))
    return paths


def remove_old_folders(place: Path) -> None:
    """Remove all but the newest folders of earlier downloads; what cannot be removed stays."""

    def time(path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:  # another process has just removed it
            return 0.0

    folders = [path for path in place.glob(f"{PREFIX}*") if path.is_dir() and not path.is_symlink()]
    for path in sorted(folders, key=time, reverse=True)[KEPT_FOLDERS - 1 :]:
        shutil.rmtree(path, ignore_errors=True)


def _pictures(selection: Selection, words: Words) -> dict[str, Image.Image]:
    """File name → picture: the picture itself, who spoke where, and a heat map for each network."""
    maps, networks = selection.maps, selection.networks
    picture = selection.picture_over(maps)
    found = {"picture.png": picture}
    if networks is None or maps is None:
        return found
    ground = page_size(picture, _SIDE)
    painted, parts = who_spoke(ground, maps, networks, selection.strength)
    found["who-spoke-where.png"] = with_legend(painted, networks, parts, words)
    scale = scale_of([maps[list(networks.places)]])
    for index in networks.speaking:
        # A stranger's name as part of a file's name.
        tame = re.sub(r"[^A-Za-z0-9._-]+", "_", networks.names[index])[:60].strip("._") or "network"
        weight = overlay(ground, maps[networks.places[index]], scale, ground.size)
        found[f"weight-{networks.letter(index)}-{tame}.png"] = weight
    return found


def _run_label(record: Record) -> str:
    """Number, time of day where the server is, first words of the prompt without tags."""
    text = " ".join(_TAGS.sub(" ", record.run.prompt[:1000]).split())
    short = text if len(text) <= LONGEST_PROMPT else text[: LONGEST_PROMPT - 1].rstrip() + "…"
    parts = (f"{record.number}", f"{record.time.astimezone():%H:%M:%S}", short)
    return " · ".join(part for part in parts if part)


def _picture_label(place: int, picture: PictureRecord, words: Words) -> str:
    """Place, from 1, and seed."""
    return f"{place}" if picture.seed is None else f"{place} · " + words("seed {seed}", seed=picture.seed)


def _pass_label(place: int, one: PassRecord, words: Words) -> str:
    """Place, from 1, and what kind of pass it is."""
    kind = words("hires pass") if one.hires else words("pass")
    return f"{place} · {kind} · " + words("{count} steps", count=one.report.totals.steps)


def _number_in(label: object) -> int | None:
    """The number a label begins with; None where there is none."""
    found = _NUMBER.match(label) if isinstance(label, str) else None
    return None if found is None else int(found[1])


def _finite(value: object, default: float) -> float:
    """A slider's value; a page that is not ready yet may hand over nothing, and a stranger anything."""
    try:
        number = float(value) if isinstance(value, int | float) else default
    except OverflowError:
        return default
    return number if math.isfinite(number) else default
