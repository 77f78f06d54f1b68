"""Presets: several settings under one name; ours, and users' own in a file."""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final

from loratorio_ext.setting import shown
from loratorio_ext.settings import SETTINGS, Settings, Value

# A preset says how to compose; whether, and with which pool, stays the user's.
_LEFT_ALONE: Final = ("enabled", "pool", "pool_by")
PRESET_SETTINGS: Final = tuple(one for one in SETTINGS if one.name not in _LEFT_ALONE)
MOST_PRESETS: Final = 100
LARGEST_FILE: Final = 10_000_000  # characters; a preset takes a few hundred
LONGEST_NAME: Final = 60
_MODE: Final = 0o644  # as an editor would write it; temporary files are for their owner alone

Preset = Mapping[str, Value]


def _of(settings: Settings) -> Preset:
    return MappingProxyType({one.name: getattr(settings, one.name) for one in PRESET_SETTINGS})


_PAPER: Final = Settings(
    weighting="difference", temperature=0.02, gain=0.0, recenter=0.5, score="step", looks=0
)
OURS: Final[Mapping[str, Preset]] = MappingProxyType(
    {
        "Balanced": _of(Settings()),
        "Fast": _of(Settings(looks=1)),
        "Every step": _of(Settings(looks=0)),
        "Faithful to the paper": _of(_PAPER),
        "Large pool": _of(Settings(top_k=3)),
    }
)
"""What each is for, and what it costs, is measured in docs/evidence.md."""


class Presets:
    """Ours and users' own; for several threads at once.

    A file that cannot be read is left as it is: ours are there, and nothing is saved until it is repaired.
    Presets in it that mean nothing here (a newer version's) are not shown, and are kept.
    """

    def __init__(self, file: Path | None) -> None:
        """``file``: where users' own are kept; None: nowhere, and only ours are there."""
        self._file = file
        self._lock = threading.Lock()

    @property
    def can_save(self) -> bool:
        """Whether users' own can be kept."""
        return self._file is not None

    def all(self) -> dict[str, Preset]:
        """Name → values of every setting of a preset; ours first, then users' own by name."""
        return {**OURS, **self._own()}

    def save(self, name: str, settings: Settings) -> None:
        """Keep these settings under a name; one of the user's own of that name is replaced.

        Raises:
            ValueError: a name that cannot be used, too many presets, or a file that cannot be understood;
                says what is allowed, or what to do.
            OSError: the file cannot be read or written.
        """
        name = _checked(name)
        if self._file is None:
            raise ValueError("presets of your own cannot be kept here; there is no folder for them")
        with self._lock:
            kept = self._read()
            if name not in kept and len(kept) >= MOST_PRESETS:
                raise ValueError(f"there are {MOST_PRESETS} presets of your own already; delete one first")
            kept[name] = dict(_of(settings))
            self._write(kept)

    def delete(self, name: str) -> None:
        """Forget one of the user's own.

        Raises:
            ValueError: there is none of this name, or the file cannot be read.
            OSError: the file cannot be read or written.
        """
        with self._lock:
            own, kept = self._own(), self._read()
            if name not in own:
                raise ValueError(
                    f"{shown(name)} is not one of your own presets; those are {', '.join(own) or 'none'}"
                )
            del kept[name]
            self._write(kept)

    def _own(self) -> dict[str, Preset]:
        try:
            kept = self._read()
        except (OSError, ValueError):
            return {}
        own = {}
        for name, values in sorted(kept.items()):
            # One of a newer version, or one that was edited by hand.
            with suppress(TypeError, ValueError):
                if _checked(name) == name and isinstance(values, dict):
                    own[name] = _of(Settings.from_dict(values))
        return own

    def _read(self) -> dict[str, object]:
        """What the file holds, whatever that is.

        Raises:
            ValueError: it is no JSON object.
            OSError: it cannot be read.
        """
        if self._file is None or not self._file.exists():
            return {}
        found = None
        with suppress(ValueError, RecursionError):
            text = self._file.read_text(encoding="utf-8")
            found = json.loads(text) if len(text) <= LARGEST_FILE else None
        if not isinstance(found, dict):
            raise ValueError(
                f"the file of your presets, {self._file.name}, cannot be understood, so it is left as it is; "
                "repair it, or move it away"
            )
        return found

    def _write(self, kept: Mapping[str, object]) -> None:
        """Whole or not at all."""
        if self._file is None:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        mode = self._file.stat().st_mode & 0o777 if self._file.exists() else _MODE
        descriptor, temporary = tempfile.mkstemp(dir=self._file.parent, prefix=self._file.name)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as stream:
                stream.write(json.dumps(kept, indent=2, ensure_ascii=False) + "\n")
            Path(temporary).chmod(mode)
            Path(temporary).replace(self._file)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
            raise


def _checked(name: str) -> str:
    name = name.strip()
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise ValueError(
            f"the preset's name is {shown(name)}; give 1 to {LONGEST_NAME} characters on one line"
        )
    if name in OURS:
        raise ValueError(f"{shown(name)} is one of the built-in presets; give another name")
    return name
