"""What the page asks for and what it is given; the page itself knows no model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from loratorio_ext.run import Report
from loratorio_ext.settings import Settings

OnStep = Callable[[int, int], None]
"""Called after every evaluation of the model with (evaluations done, evaluations in all)."""


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
    """

    name: str
    samplers: tuple[str, ...]
    steps: int
    cfg: float
    size: tuple[int, int]
    multiple: int
    examples: tuple[str, ...] = ()


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


@dataclass(frozen=True)
class Drawn:
    """A finished picture.

    Attributes:
        image: RGB.
        seed: its own.
        infotext: its parameters, as the WebUI writes them.
        report: what its sampling did.
    """

    image: Image.Image
    seed: int
    infotext: str
    report: Report


class Generator(Protocol):
    """A model that draws one picture at a time."""

    @property
    def facts(self) -> Facts:
        """What does not change while the page is open."""

    def draw(self, job: Job, seed: int, on_step: OnStep) -> Drawn:
        """Draw the picture of ``seed``; an exception of ``on_step`` ends it and leaves nothing behind.

        Raises:
            ValueError: a value or a network that cannot be used; says which, and what is allowed.
        """
