"""Answers of the judge on disk, one line a picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from loratorio_ext.evaluate.lines import Lines

SCHEMA: Final = "loratorio.evaluation"
SCHEMA_VERSION: Final = 1


@dataclass(frozen=True)
class Result:
    """What became of one task by one method.

    Attributes:
        arm: name of the method with its settings.
        world: name of the world that drew it.
        task: key of the task.
        answers: what the judge sees, one value for each factor.
        rows: predictions that the picture took.
        plain_rows: predictions that the base alone takes.
    """

    arm: str
    world: str
    task: str
    answers: Mapping[str, str]
    rows: float
    plain_rows: float

    @property
    def key(self) -> tuple[str, str, str]:
        """No two results have the same."""
        return self.arm, self.world, self.task


class Store(Lines[Result]):
    """The results of one evaluation; see `Lines`."""

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        """Open the file, or begin it; arguments and errors as for `Lines`."""
        super().__init__(path, about, schema=SCHEMA, version=SCHEMA_VERSION, record=Result)
