"""Results on disk, one line a picture, so that an evaluation that was killed goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

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


class Store:
    """The results of one evaluation, in a file that only grows.

    Attributes:
        path: the file.
    """

    def __init__(self, path: Path, about: Mapping[str, Any]) -> None:
        """Open the file, or begin it.

        A last line that a kill has cut is dropped; its picture is drawn again.

        Args:
            path: the file; its folder exists.
            about: what is evaluated, as JSON; an evaluation of something else is not continued.

        Raises:
            ValueError: the file holds something else, an evaluation of something else, or a broken line.
        """
        self.path = path
        self._results: dict[tuple[str, str, str], Result] = {}
        head = {"schema": SCHEMA, "version": SCHEMA_VERSION, "about": json.loads(json.dumps(about))}
        content = path.read_bytes() if path.exists() else b""
        if _line(head).startswith(content):  # nothing yet, or a kill has cut the first line
            path.write_bytes(_line(head))
            return
        whole = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
        found = _read(path, 1, whole[0] if whole else content)
        if found != head:
            raise ValueError(f"{path} holds {_difference(found, head)}; name another place with --out")
        for number, line in enumerate(whole[1:], 2):
            result = _result(path, number, line)
            self._results.setdefault(result.key, result)
        os.truncate(path, sum(len(line) for line in whole))

    def __contains__(self, key: tuple[str, str, str]) -> bool:
        return key in self._results

    def __iter__(self) -> Iterator[Result]:
        return iter(self._results.values())

    def __len__(self) -> int:
        return len(self._results)

    def add(self, results: Iterable[Result]) -> None:
        """Keep results, on disk before this returns; of two with the same key the first counts."""
        new = {result.key: result for result in results if result.key not in self._results}
        if not new:
            return
        with self.path.open("ab") as file:
            file.write(b"".join(_line(asdict(result)) for result in new.values()))
            file.flush()
            os.fsync(file.fileno())
        self._results.update(new)


def _line(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()


def _read(path: Path, number: int, line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise ValueError(
            f"{path}, line {number} is no JSON ({error}); take the line out or name another place with --out"
        ) from error


def _result(path: Path, number: int, line: bytes) -> Result:
    try:
        return Result(**_read(path, number, line))
    except TypeError as error:
        raise ValueError(
            f"{path}, line {number} is no result; take it out or name another place with --out"
        ) from error


def _difference(found: Any, wanted: Mapping[str, Any]) -> str:
    if not isinstance(found, dict) or found.get("schema") != wanted["schema"]:
        return "something else than an evaluation"
    if found.get("version") != wanted["version"]:
        return f"an evaluation of version {found.get('version')!r}, this is {wanted['version']}"
    about, asked = found.get("about"), wanted["about"]
    if not isinstance(about, dict):
        return "an evaluation that does not say of what"
    names = [name for name in {**about, **asked} if about.get(name) != asked.get(name)]
    return f"an evaluation with another {', '.join(names)}"
