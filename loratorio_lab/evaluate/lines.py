"""Results on disk, one line each, so that work that was killed goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar


class Record(Protocol):
    """A dataclass of values that JSON knows."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def key(self) -> Hashable:
        """No two records have the same."""


R = TypeVar("R", bound=Record)


class Lines(Generic[R]):
    """Records in a file that only grows; its first line says what they are of.

    Attributes:
        path: the file.
    """

    def __init__(
        self, path: Path, about: Mapping[str, Any], *, schema: str, version: int, record: Callable[..., R]
    ) -> None:
        """Open the file, or begin it.

        A last line that a kill has cut is dropped; its record is made again.

        Args:
            path: the file; its folder exists.
            about: what the records are of, as JSON; a file of something else is not continued.
            schema: name of the format.
            version: of the format.
            record: makes a record of a line's values.

        Raises:
            ValueError: the file holds something else, records of something else, or a broken line.
        """
        self.path = path
        self._record = record
        self._records: dict[Hashable, R] = {}
        head = {"schema": schema, "version": version, "about": json.loads(json.dumps(about))}
        content = path.read_bytes() if path.exists() else b""
        if _line(head).startswith(content):  # nothing yet, or a kill has cut the first line
            path.write_bytes(_line(head))
            return
        whole = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
        found = _read(path, 1, whole[0] if whole else content)
        if found != head:
            raise ValueError(f"{path} holds {_difference(found, head)}; name another place with --out")
        for number, line in enumerate(whole[1:], 2):
            one = self._parsed(number, line)
            self._records.setdefault(one.key, one)
        os.truncate(path, sum(len(line) for line in whole))

    def __contains__(self, key: Hashable) -> bool:
        return key in self._records

    def __iter__(self) -> Iterator[R]:
        return iter(self._records.values())

    def __len__(self) -> int:
        return len(self._records)

    def add(self, records: Iterable[R]) -> None:
        """Keep records, on disk before this returns; of two with the same key the first counts."""
        new: dict[Hashable, R] = {}
        for record in records:
            if record.key not in self._records:
                new.setdefault(record.key, record)
        if not new:
            return
        with self.path.open("ab") as file:
            file.write(b"".join(_line(asdict(record)) for record in new.values()))
            file.flush()
            os.fsync(file.fileno())
        self._records.update(new)

    def _parsed(self, number: int, line: bytes) -> R:
        try:
            return self._record(**_read(self.path, number, line))
        except TypeError as error:
            raise ValueError(
                f"{self.path}, line {number} is no result; take it out or name another place with --out"
            ) from error


def _line(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()


def _read(path: Path, number: int, line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        raise ValueError(
            f"{path}, line {number} is no JSON ({error}); take the line out or name another place with --out"
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
