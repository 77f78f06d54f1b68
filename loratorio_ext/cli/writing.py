"""Files that the commands write: places are checked before any work, and nothing is left half written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from loratorio_ext.cli.console import InputError
from loratorio_ext.infotext import quoted

if TYPE_CHECKING:
    from PIL import Image

    from loratorio_ext.hosts.diffusers_host import Request, Result
    from loratorio_ext.run import Report


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


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A place to write to, which becomes `path` at the end; after an error nothing of it is left."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` whole or not at all."""
    with whole_file(path) as part:
        part.write_text(text, encoding="utf-8")


def write_picture(path: Path, picture: Image.Image, infotext: str) -> None:
    """Write a PNG whole or not at all, with its parameters where the WebUI looks for them."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("parameters", infotext)
    with whole_file(path) as part:
        picture.save(part, "PNG", pnginfo=info)


def picture_parameters(
    request: Request, result: Result, model: Path, seed: int, size: tuple[int, int]
) -> str:
    """The parameters of one picture, in the form that the WebUI writes and reads."""
    negative = f"\nNegative prompt: {request.negative_prompt}" if request.negative_prompt else ""
    facts = [
        f"Steps: {request.steps}",
        f"CFG scale: {request.cfg:g}",
        f"Seed: {seed}",
        f"Size: {size[0]}x{size[1]}",
    ]
    if result.sampler:
        facts.append(f"Sampler: {quoted(result.sampler)}")
    name = model.stem if model.suffix.lower() == ".safetensors" else model.resolve().name
    facts.append(f"Model: {quoted(name)}")
    facts += _combination(request, result.report)
    return f"{request.prompts[0]}{negative}\n" + ", ".join(facts)


def _combination(request: Request, report: Report) -> list[str]:
    """How the networks were combined, by what the steps did and not by what was asked for."""
    if not report.composed:
        return []
    # The report has names of its own for some methods' steps.
    mode = {"loratorio": "composed", "merge": "merged", "merge-recentred": "merged"}
    # A window that holds no step leaves every step to the usual way.
    wanted = (mode.get(request.method, request.method), "placed")
    as_asked = any(step.mode in wanted for step in report.steps)
    facts = [f"Networks combined by: {request.method if as_asked else 'merge'}"]
    if request.method == "switch":
        facts.append(f"Switch every: {request.switch_every}")
    if request.method == "loratorio":
        facts.append(replace(request.settings, enabled=as_asked).to_infotext())
    return facts
