"""Files of what is looked at: the report as JSON, the pictures in a zip."""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Final

from PIL import Image

from loratorio_ext.plots.pictures import overlay, png, scale_of
from loratorio_ext.server.words import Words
from loratorio_ext.ui.inspector.pictures import page_size, who_spoke, with_legend
from loratorio_ext.ui.inspector.selection import Selection

PREFIX: Final = "loratorio_inspector_"
KEPT_FOLDERS: Final = 8
"""Folders of earlier downloads that may still be in use; older ones are removed."""
_SIDE: Final = 768


def write_downloads(selection: Selection, words: Words) -> list[str]:
    """Write what there is of report and pictures into a new temporary folder.

    Returns:
        Paths of the files: a JSON file where a pass is known, a zip where there is a picture.
    """
    remove_old_folders(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    stem = f"loratorio-run-{selection.record.number}"
    paths = []
    if selection.report is not None:
        path = folder / f"{stem}-report.json"
        path.write_text(selection.report.to_json(), encoding="utf-8")
        paths.append(path)
    if selection.picture is not None:
        step = f"step-{selection.step}" if selection.step else "mean"
        path = folder / f"{stem}-{step}.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name, picture in pictures(selection, words).items():
                archive.writestr(name, png(picture))
        paths.append(path)
    return [str(path) for path in paths]


def pictures(selection: Selection, words: Words) -> dict[str, Image.Image]:
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
        name = f"weight-{networks.letter(index)}-{_safe(networks.names[index])}.png"
        found[name] = overlay(ground, maps[networks.places[index]], scale, ground.size)
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
