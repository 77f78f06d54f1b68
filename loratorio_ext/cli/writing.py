"""Files that the commands write: places are checked before any work, and nothing is left half written."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from loratorio_ext.cli.console import InputError

if TYPE_CHECKING:
    from PIL import Image


def prepare_folder(folder: Path) -> Path:
    """Make `folder` and see that files can be written there.

    Raises:
        InputError: it is a file, or nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"cannot write into {folder}: {error.strerror or error}. Name another place with --out."
        ) from error
    return folder


def prepare_file(path: Path) -> Path:
    """Make the folder of `path` and see that files can be written there; InputError as `prepare_folder`."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it.")
    prepare_folder(path.parent)
    return path


def free_name(path: Path) -> Path:
    """`path`, or where that exists the next one that does not: "a.png", "a-2.png", "a-3.png", ..."""
    number, candidate = 2, path
    while candidate.exists():
        candidate = path.with_name(f"{path.stem}-{number}{path.suffix}")
        number += 1
    return candidate


def write_text(path: Path, text: str) -> None:
    """Write `text` whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_picture(path: Path, picture: Image.Image, infotext: str) -> None:
    """Write a PNG whole or not at all, with its parameters where the WebUI looks for them."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("parameters", infotext)
    part = path.with_name(f".{path.name}.part")
    try:
        picture.save(part, "PNG", pnginfo=info)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
