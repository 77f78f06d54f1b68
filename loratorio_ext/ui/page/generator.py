"""What the page asks a model for, as its controls or an infotext say it, and what it is given.

The page itself knows no model. Whoever can reach it can send any values, and paste any text.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from PIL import Image, ImageOps

from loratorio_ext.run import Report
from loratorio_ext.setting import Setting, Value, shown
from loratorio_ext.settings import SETTINGS, Settings

MOST_STEPS: Final = 150
LARGEST_CFG: Final = 30.0
MOST_PICTURES: Final = 16
LARGEST_SIDE: Final = 2048
# Beyond it, a browser's numbers lose their last digits.
LARGEST_SEED: Final = 2**53 - 1 - MOST_PICTURES
LARGEST_HIRES_SCALE: Final = 4.0
LONGEST_INFOTEXT: Final = 100_000  # characters
MOST_PIXELS: Final = 2**26
"""Of a picture to start from."""
_OF_JOB: Final = ("prompt", "negative", "steps", "cfg", "sampler", "width", "height", "seed")
_OF_HIRES: Final = ("hires_scale", "hires_steps")
PASTED: Final = (*_OF_JOB, "strength", *_OF_HIRES, "hires_strength")
"""The page's own controls that a pasted infotext fills in; the panel has more."""
_NAMES: Final = (*PASTED, "pictures", "image", *(one.name for one in SETTINGS))
_RANDOM_SEEDS: Final = 2**32
_FOLDERS: Final = re.compile(r"(?<![\w.<])(?:[A-Za-z]:)?[/\\](?:[^\s'\"/\\<>]{1,255}[/\\])+")

Sketch = Callable[[], Image.Image | None]
"""Makes a small picture of what is being drawn; None: there is none yet."""


class OnStep(Protocol):
    """Called after every evaluation of the model."""

    def __call__(self, step: int, steps: int, sketch: Sketch | None = None, /) -> None:
        """``step``: evaluations done; ``steps``: in all."""


@dataclass(frozen=True)
class Facts:
    """What the page must know of a model.

    Attributes:
        name: of the model, for people.
        samplers: names that can be asked for, the model's own first.
        steps: of the sampler, a good value to begin with.
        cfg: guidance scale, a good value to begin with.
        size: the model's own width and height in pixels.
        multiple: widths and heights are multiples of this, in pixels.
        examples: prompts to begin with, for this model's networks; may be empty.
        models: names of all models that can be chosen, this one's among them; empty: there is no other.
        stem: what an infotext calls the model; "": as ``name``.
        hash_of: name of a network → hash of its file here; "": there is none, or it takes long to find.
    """

    name: str
    samplers: tuple[str, ...]
    steps: int
    cfg: float
    size: tuple[int, int]
    multiple: int
    examples: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    stem: str = ""
    hash_of: Callable[[str], str] = lambda name: ""


@dataclass(frozen=True)
class Job:
    """One run: ``pictures`` pictures of one prompt, their seeds counting up from ``seed``.

    Attributes are as in `hosts.diffusers_host.Request`; ``settings.enabled`` says whether networks are
    composed or merged.
    """

    prompt: str
    negative: str
    steps: int
    cfg: float
    sampler: str
    width: int
    height: int
    seed: int
    pictures: int
    settings: Settings
    image: Image.Image | None = None
    denoising_strength: float = 0.75
    hires_scale: float = 1.0
    hires_steps: int = 0


@dataclass(frozen=True)
class Drawn:
    """A finished picture.

    Attributes:
        image: RGB.
        seed: its own.
        infotext: its parameters, as the WebUI writes them.
        report: what its sampling did.
        hires_report: the same of its hires pass, if there was one.
    """

    image: Image.Image
    seed: int
    infotext: str
    report: Report
    hires_report: Report | None = None


class Generator(Protocol):
    """A model that draws one picture at a time."""

    @property
    def facts(self) -> Facts:
        """Of the model that draws."""

    def choose(self, name: str) -> None:
        """Let another model draw, one of ``facts.models``; not while a picture is drawn.

        Raises:
            ValueError: there is none of this name, or it cannot be opened; then nothing has changed.
        """

    def draw(self, job: Job, seed: int, on_step: OnStep) -> Drawn:
        """Draw the picture of ``seed``; an exception of ``on_step`` ends it and leaves nothing behind.

        Raises:
            ValueError: a value or a network that cannot be used; says which, and what is allowed.
        """


def job_of(values: Sequence[object], facts: Facts) -> Job:
    """A run from the controls' values.

    Args:
        values: prompt, negative prompt, steps, CFG scale, sampler, width, height, seed (-1: a random one),
            denoising strength for a picture to start from; scale, steps and denoising strength of Hires. fix;
            pictures, the file of a picture to start from (None: noise), then the panel's controls in the
            order of ``SETTINGS``.
        facts: of the model.

    Raises:
        ValueError: names the first value that cannot be used, and what is allowed.
    """
    if len(values) != len(_NAMES):
        raise ValueError(f"{len(values)} values came from the page, not {len(_NAMES)}; load the page again.")
    given: dict[str, Any] = dict(zip(_NAMES, values, strict=True))
    settings = Settings.from_dict({one.name: given[one.name] for one in SETTINGS})
    prompt, negative = given["prompt"], given["negative"]
    for label, text in (("Prompt", prompt), ("Negative prompt", negative)):
        if not isinstance(text, str):
            raise ValueError(f"{label} is {shown(text)}; give a text.")
    if given["sampler"] not in facts.samplers:
        allowed = ", ".join(facts.samplers)
        raise ValueError(f"Sampler is {shown(given['sampler'])}; choose one of {allowed}.")
    for one in numbers(facts):
        value = given[one.name]
        try:
            given[one.name] = one.check(value)
        except ValueError as error:
            said = "empty" if value is None else shown(value)
            raise ValueError(f"{one.label} is {said}; give {one.allowed}.") from error
    multiple, scale = facts.multiple, given["hires_scale"]
    for label in ("Width", "Height"):
        side = given[label.lower()]
        if scale > 1 and side * scale > LARGEST_SIDE:
            raise ValueError(
                f"Upscale by is {scale:g}, which makes {label} {side * scale:g}; it must be at most "
                f"{LARGEST_SIDE}."
            )
        if side % multiple:
            below = side - side % multiple
            raise ValueError(
                f"{label} is {side}; it must be a multiple of {multiple} for this model, "
                f"such as {below or multiple} or {below + multiple}."
            )
    if given["seed"] < 0:
        # No secret, and each page may have the same: Python's own random numbers will do.
        given["seed"] = random.randrange(_RANDOM_SEEDS)
    return Job(
        settings=settings,
        image=None if given["image"] is None else _opened(given["image"]),
        denoising_strength=given["hires_strength" if scale > 1 else "strength"],
        **{name: given[name] for name in (*_OF_JOB, "pictures", *_OF_HIRES)},
    )


def _opened(file: str) -> Image.Image:
    """A picture to start from; ValueError for what is none, or too large."""
    try:
        with Image.open(file, formats=("PNG", "JPEG", "WEBP")) as image:
            width, height = image.size
            if width * height <= MOST_PIXELS:
                return ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # damaged files fail in many ways
        raise ValueError("The start picture cannot be read; give a PNG, JPEG or WebP file.") from error
    raise ValueError(
        f"The start picture has {width} × {height} pixels; it must have at most {MOST_PIXELS} in all."
    )


def read_kept(text: object, facts: Facts) -> list[Value | None]:
    """What a page that is loaded again has kept of its controls, in the order of `job_of`; None: nothing."""
    try:
        kept = json.loads(text) if isinstance(text, str) and len(text) <= LONGEST_INFOTEXT else []
    except (ValueError, RecursionError):
        kept = []
    if not isinstance(kept, list) or len(kept) != len(_NAMES):
        return [None] * len(_NAMES)
    checks = {one.name: one for one in (*numbers(facts), *SETTINGS)}
    found: list[Value | None] = []
    for name, value in zip(_NAMES, kept, strict=True):
        try:
            if name in checks:
                value = checks[name].check(value)
            elif name == "image" or not isinstance(value, str):
                value = None  # also the file of a picture: what a page says of it is no reason to read it
            if name == "sampler" and value not in facts.samplers:
                value = None
        except ValueError:
            value = None
        found.append(value)
    return found


def without_folders(text: str) -> str:
    """A message in which only the last part of every absolute path is left."""
    return _FOLDERS.sub("", text)


def with_tag_toggled(prompt: str, name: str, triggers: Sequence[str] = ()) -> str:
    """``prompt`` without the tags of network ``name``, or where there are none with one of strength 1.

    ``triggers``: its trigger words, which come after the tag where the prompt does not have them yet, and go
    with it where they still stand there.
    """
    words = ", ".join(triggers)
    after = f"(?: {re.escape(words)})?" if words else ""
    tags = re.compile(rf" ?<(?:lora|lyco):{re.escape(name)}(?::[^>]*)?>{after}")
    without, count = tags.subn("", prompt)
    if count:
        return without
    missing = f" {words}" if words and words not in prompt else ""
    return f"{prompt.rstrip()} <lora:{name}:1>{missing}".lstrip()


def names_like(names: Iterable[str], wanted: str) -> list[str]:
    """The names that hold all words of ``wanted``, whatever the case of their letters."""
    parts = wanted.casefold().split()
    return [name for name in names if all(part in name.casefold() for part in parts)]


def numbers(facts: Facts) -> tuple[Setting, ...]:
    """The controls that hold a number, with their ranges for this model."""
    ranges = (
        ("steps", "Steps", 1, MOST_STEPS),
        ("cfg", "CFG scale", 1.0, LARGEST_CFG),
        ("width", "Width", facts.multiple, LARGEST_SIDE),
        ("height", "Height", facts.multiple, LARGEST_SIDE),
        ("seed", "Seed", -1, LARGEST_SEED),
        ("strength", "Denoising strength", 0.0, 1.0),
        ("hires_scale", "Upscale by", 1.0, LARGEST_HIRES_SCALE),
        ("hires_steps", "Hires steps", 0, MOST_STEPS),
        ("hires_strength", "Denoising strength", 0.0, 1.0),
        ("pictures", "Pictures", 1, MOST_PICTURES),
    )
    return tuple(Setting(name, low, label, "", "", low, high) for name, label, low, high in ranges)
