"""What the demo found out, in one place: read by the page, the table and results.json."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from loratorio_ext import __version__
from loratorio_ext.run import Report
from loratorio_ext.settings import Settings

SCHEMA: Final = "loratorio.demo"
SCHEMA_VERSION: Final = 1

Maps = npt.NDArray[np.float32]

Scores = Mapping[str, Mapping[str, float]]
"""The judge's opinion of one picture: the probability of every value of every factor."""


@dataclass(frozen=True)
class Wanted:
    """A concept the prompt asks for: the network that knows it, and the judge's name for it."""

    network: str
    factor: str
    value: str


@dataclass(frozen=True)
class Method:
    """A way to combine networks: its name in a request, a label, and one plain sentence."""

    name: str
    label: str
    about: str


@dataclass(frozen=True)
class Outcome:
    """One method's pictures, what the judge says about them, and what they cost."""

    method: Method
    images: tuple[Image.Image, ...]
    scores: tuple[Scores, ...]
    report: Report

    def probability(self, image: int, wanted: Wanted) -> float:
        """The judge's probability, 0..1, that the picture holds the concept."""
        return float(self.scores[image][wanted.factor].get(wanted.value, 0.0))

    def found(self, image: int, wanted: Wanted) -> bool:
        """Whether the judge finds the concept likelier than every other answer."""
        answers = self.scores[image][wanted.factor]
        return max(answers, key=lambda value: answers[value]) == wanted.value

    def count(self, *wanted: Wanted) -> int:
        """In how many pictures the judge finds every one of these concepts."""
        return sum(all(self.found(image, one) for one in wanted) for image in range(len(self.images)))

    def mean(self, wanted: Wanted) -> float:
        """The judge's mean probability over the pictures, 0..1."""
        return float(np.mean([self.probability(image, wanted) for image in range(len(self.images))]))


@dataclass(frozen=True)
class Demo:
    """The whole demonstration."""

    prompt: str
    text: str
    wanted: tuple[Wanted, ...]
    seeds: tuple[int, ...]
    steps: int
    cfg: float
    settings: Settings
    outcomes: tuple[Outcome, ...]

    @property
    def composed(self) -> Outcome:
        """LoRAtorio's outcome."""
        return next(outcome for outcome in self.outcomes if outcome.method.name == "loratorio")

    def maps(self) -> tuple[list[int], Maps]:
        """(the steps that composed, their weight maps [steps, N, images, h, w]); [0, 0, 0, 1, 1] if none."""
        kept = [step for step in self.composed.report.steps if step.maps is not None]
        if not kept:
            return [], np.zeros((0, 0, 0, 1, 1), dtype=np.float32)
        stacked = np.stack([step.maps.float().numpy() for step in kept if step.maps is not None])
        return [step.index for step in kept], stacked

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pictures and maps, for results.json."""
        return {
            "schema": SCHEMA,
            "version": SCHEMA_VERSION,
            "made_with": versions(),
            "prompt": self.prompt,
            "wanted": [vars(wanted) for wanted in self.wanted],
            "seeds": list(self.seeds),
            "steps": self.steps,
            "cfg": self.cfg,
            "settings": self.settings.to_dict(),
            "methods": [
                {
                    "method": outcome.method.name,
                    "found": {wanted.value: outcome.count(wanted) for wanted in self.wanted},
                    "found_all": outcome.count(*self.wanted),
                    "probability": {wanted.value: round(outcome.mean(wanted), 4) for wanted in self.wanted},
                    "scores": [
                        {
                            factor: {value: round(p, 4) for value, p in head.items()}
                            for factor, head in picture.items()
                        }
                        for picture in outcome.scores
                    ],
                    "report": outcome.report.to_dict(),
                }
                for outcome in self.outcomes
            ],
        }


def versions() -> dict[str, str]:
    """What made the pictures, for a reader who gets others."""
    return {
        "loratorio": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "threads": str(torch.get_num_threads()),
        "machine": platform.machine(),
    }


def table(demo: Demo) -> str:
    """The figures as text in columns: found concepts out of all pictures, rows, calls and seconds."""
    pictures = len(demo.seeds)
    lines = [["method", *(one.value for one in demo.wanted), "all", "rows", "× plain", "calls", "seconds"]]
    for outcome in demo.outcomes:
        totals = outcome.report.totals
        lines.append(
            [
                outcome.method.label,
                *(f"{outcome.count(wanted)}/{pictures}" for wanted in demo.wanted),
                f"{outcome.count(*demo.wanted)}/{pictures}",
                str(totals.rows),
                "-" if totals.ratio is None else f"{totals.ratio:.2f}",
                str(totals.calls),
                f"{totals.seconds:.1f}",
            ]
        )
    first, *others = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join([name.ljust(first), *map(str.rjust, figures, others)]) for name, *figures in lines
    )
