"""Options of a server, which apply to all its generations: limits, and what is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal

from loratorio_ext.setting import Setting, Value, declare

MEBIBYTE = 2**20
_KEY_PREFIX = "loratorio_"


@dataclass(frozen=True)
class Options:
    """Each option is explained by its help text; infotext keys are not used.

    Raises:
        ValueError: a value of another type or outside its range; names the value and what is allowed.
    """

    history: int = declare(
        8,
        "Runs kept for the inspector",
        "How many of the last runs can be looked at. 0: none are kept. More runs take more memory.",
        limits=(0, 100, 1),
    )
    history_memory: int = declare(
        256,
        "Memory for runs kept, in MB",
        "The computer's own memory, not the graphics card's. The oldest runs are forgotten first.",
        limits=(1, 8192, 1),
    )
    rows: int = declare(
        0,
        "Most rows per model call",
        "How many predictions the model may be asked for at once, whatever a generation's own setting says. "
        "Low: less memory, slower. 0: no limit.",
        limits=(0, 1024, 1),
    )
    network_memory: int = declare(
        2048,
        "Graphics memory for networks, in MB",
        "Copies of networks that are kept ready on the graphics card between model calls. Low: less memory, "
        "but large pools and networks with dense weights take longer.",
        limits=(0, 65536, 1),
    )
    overlay: Literal["off", "gallery", "gallery and file"] = declare(
        "off",
        "Picture of who spoke where",
        "off: only in the inspector. gallery: also next to the pictures. gallery and file: also saved with "
        "them.",
        choices=("off", "gallery", "gallery and file"),
    )
    in_step: bool = declare(
        False,
        "Keep txt2img and img2img alike",
        "Whatever you set in one tab's panel, also with a preset or the pool's list, is set in the other's "
        "too. What comes from an infotext is not. Off: each tab has its own settings.",
    )

    def __post_init__(self) -> None:
        for option in OPTIONS:
            object.__setattr__(self, option.name, option.check(getattr(self, option.name)))

    @property
    def limits_of_history(self) -> tuple[int, int]:
        """(runs, bytes) that the history may hold."""
        return self.history, self.history_memory * MEBIBYTE

    @property
    def network_bytes(self) -> int:
        """`network_memory` in bytes."""
        return self.network_memory * MEBIBYTE

    def rows_of(self, batch_rows: int) -> int:
        """A generation's rows per call within the limit; 0: as many as fit."""
        if self.rows == 0 or batch_rows == 0:
            return max(self.rows, batch_rows)
        return min(self.rows, batch_rows)

    @classmethod
    def from_values(cls, values: Mapping[str, object]) -> Options:
        """Options by name; what is missing or not allowed has its default, since files are edited by hand."""
        return cls(**{option.name: _allowed(option, values) for option in OPTIONS})  # type: ignore[arg-type]


OPTIONS: tuple[Setting, ...] = tuple(replace(f.metadata["setting"], name=f.name) for f in fields(Options))


def option_key(name: str) -> str:
    """The key of an option in a WebUI's settings file; must not change."""
    return f"{_KEY_PREFIX}{name}"


def _allowed(option: Setting, values: Mapping[str, object]) -> Value:
    try:
        return option.check(values.get(option.name, option.default))
    except ValueError:
        return option.default
