"""Files that the commands write: places are checked before any work, and nothing is left half written."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from loratorio_ext.cli.console import InputError
from loratorio_ext.infotext import quoted

if TYPE_CHECKING:
    from PIL import Image

    from loratorio_ext.hosts.diffusers_host import Request, Result


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
    numbered = (path.with_name(f"{path.stem}-{number}{path.suffix}") for number in count(2))
    return next(name for name in chain([path], numbered) if not name.exists())


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


def model_name(path: Path) -> str:
    """What an infotext calls a model."""
    return path.stem if path.suffix.lower() == ".safetensors" else path.resolve().name


def picture_parameters(
    request: Request, result: Result, model: Path, seed: int, size: tuple[int, int]
) -> str:
    """The parameters of one picture, as the WebUI writes and reads them; `size`: of the first pass."""
    facts: dict[str, object] = {
        "Steps": request.steps,
        "CFG scale": f"{request.cfg:g}",
        "Seed": seed,
        "Size": f"{size[0]}x{size[1]}",
        **({"Sampler": result.sampler} if result.sampler else {}),
        "Model": model_name(model),
    }
    hires = request.hires_scale > 1
    if hires or request.image is not None:
        facts["Denoising strength"] = f"{request.denoising_strength:g}"
    if hires:  # as the WebUIs say it: without the steps where they are those of the first pass
        steps = {"Hires steps": request.hires_steps} if request.hires_steps else {}
        facts |= {"Hires upscale": f"{request.hires_scale:g}", **steps, "Hires upscaler": "Latent"}
    if result.report.composed:  # by what the steps did and not by what was asked for
        # The report has names of its own for some methods' steps.
        mode = {"loratorio": "composed", "merge": "merged", "merge-recentred": "merged"}
        # A window that holds no step leaves every step to the usual way.
        wanted = (mode.get(request.method, request.method), "placed")
        as_asked = any(step.mode in wanted for step in result.report.steps)
        facts["Networks combined by"] = request.method if as_asked else "merge"
        if request.method == "switch":
            facts["Switch every"] = request.switch_every
        if request.method == "loratorio":
            facts |= replace(request.settings, enabled=as_asked).infotext_fields()
    if result.hashes:  # names without what separates them (extensions-builtin/Lora/extra_networks_lora.py)
        names = {re.sub("[:,]", "", name): digits for name, digits in result.hashes.items()}
        facts["Lora hashes"] = ", ".join(f"{name}: {digits}" for name, digits in names.items())
    negative = f"\nNegative prompt: {request.negative_prompt}" if request.negative_prompt else ""
    return f"{request.prompts[0]}{negative}\n" + ", ".join(
        f"{key}: {quoted(str(value))}" for key, value in facts.items()
    )
