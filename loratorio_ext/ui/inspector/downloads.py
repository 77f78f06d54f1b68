"""Files of what is looked at: the report as JSON, the pictures in a zip."""

from __future__ import annotations

import io
import re
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from PIL import Image

from loratorio_ext.plots.pictures import overlay, scale_of
from loratorio_ext.server.words import Words
from loratorio_ext.ui.inspector.looked import Looked
from loratorio_ext.ui.inspector.maps_html import maps_at, picture_of
from loratorio_ext.ui.inspector.overlay import with_legend
from loratorio_ext.ui.inspector.paint import page_size, who_spoke
from loratorio_ext.ui.inspector.weights import shares, shown_networks, with_others

PREFIX: Final = "loratorio_inspector_"
KEPT_FOLDERS: Final = 8
"""Folders of earlier downloads that may still be in use; older ones are removed."""
_SIDE: Final = 768


def write_downloads(looked: Looked, words: Words) -> list[str]:
    """Write what there is of report and pictures into a new temporary folder.

    Returns:
        Paths of the files: a JSON file where a pass is known, a zip where there is a picture.
    """
    remove_old_folders(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    stem = f"loratorio-run-{looked.record.number}"
    paths = []
    if looked.report is not None:
        path = folder / f"{stem}-report.json"
        path.write_text(looked.report.to_json(), encoding="utf-8")
        paths.append(path)
    if looked.picture is not None:
        step = f"step-{looked.step}" if looked.step else "mean"
        path = folder / f"{stem}-{step}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, picture in pictures(looked, words).items():
                buffer = io.BytesIO()
                picture.save(buffer, "PNG")
                archive.writestr(name, buffer.getvalue())
        paths.append(path)
    return [str(path) for path in paths]


def pictures(looked: Looked, words: Words) -> dict[str, Image.Image]:
    """File name → picture: the picture itself, who spoke where, and a heat map for each network."""
    maps = maps_at(looked)
    picture = picture_of(looked, maps)
    found = {"picture.png": picture}
    if looked.report is None or maps is None:
        return found
    shown = shown_networks(looked.report, looked.steps, looked.image)
    ground = page_size(picture, _SIDE)
    drawn = with_others(maps, shown)
    painted = who_spoke(ground, drawn, shown, looked.strength)
    found["who-spoke-where.png"] = with_legend(painted, shown, shares(drawn), words)
    scale = scale_of([maps[list(shown.places)]])
    for index in shown.speaking:
        name = f"weight-{shown.letter(index)}-{_safe(shown.names[index])}.png"
        found[name] = overlay(ground, maps[shown.places[index]], scale, ground.size)
    return found


def remove_old_folders(place: Path) -> None:
    """Remove all but the newest folders of earlier downloads; what cannot be removed stays."""
    folders = [path for path in place.glob(f"{PREFIX}*") if path.is_dir() and not path.is_symlink()]
    for path in sorted(folders, key=_time, reverse=True)[KEPT_FOLDERS - 1 :]:
        shutil.rmtree(path, ignore_errors=True)


def _time(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process has just removed it
        return 0.0


def _safe(name: str) -> str:
    """A stranger's name as part of a file's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:60].strip("._") or "network"
