"""What is kept of every picture and of every score, one line each; pictures themselves as PNG."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loratorio_ext.evaluate.composlora.tasks import Task
from loratorio_ext.evaluate.lines import Lines

PICTURES: Final = "loratorio.composlora.pictures"
SCORES: Final = "loratorio.composlora.scores"
VERSION: Final = 1


@dataclass(frozen=True)
class Picture:
    """A picture that was drawn.

    Attributes:
        arm: name of the method with its settings.
        task: key of the task.
        rows: predictions that it took.
        plain_rows: predictions that the base alone takes.
        seconds: of the model, for this picture's part of its batch.
        device: what it was drawn on, and in which dtype.
    """

    arm: str
    task: str
    rows: float
    plain_rows: float
    seconds: float
    device: str

    @property
    def key(self) -> tuple[str, str]:
        """No two pictures have the same."""
        return self.arm, self.task


@dataclass(frozen=True)
class Score:
    """What CLIP says of a picture.

    Attributes:
        arm: as the picture's.
        task: as the picture's.
        picture: SHA-256 of the PNG, in hexadecimal digits: a picture that was drawn again is another.
        score: CLIPScore, 0 to 100.
        cut: whether the caption was longer than the model reads.
    """

    arm: str
    task: str
    picture: str
    score: float
    cut: bool

    @property
    def key(self) -> tuple[str, str, str]:
        """No two scores have the same."""
        return self.arm, self.task, self.picture


def open_pictures(folder: Path, about: Mapping[str, Any]) -> Lines[Picture]:
    """pictures.jsonl in the folder; errors as `Lines`."""
    return Lines(folder / "pictures.jsonl", about, schema=PICTURES, version=VERSION, record=Picture)


def open_scores(folder: Path, model: str, digest: str) -> Lines[Score]:
    """The folder's scores by one model, in a file of its own; errors as `Lines`.

    Args:
        folder: where the pictures' lines lie.
        model: name of the model.
        digest: SHA-256 of its weights, in hexadecimal digits.
    """
    about = {"clip": model, "sha256": digest}
    path = folder / f"scores-{digest[:12]}.jsonl"
    return Lines(path, about, schema=SCORES, version=VERSION, record=Score)


def picture_path(folder: Path, arm: str, task: Task) -> Path:
    """Where a picture lies: made of names that were checked, never read from a file."""
    return folder / "pictures" / arm / f"{task.combination}-{task.split}-{task.number}.png"


def write_picture(path: Path, content: bytes) -> None:
    """Write a picture whole or not at all, on disk before this returns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
