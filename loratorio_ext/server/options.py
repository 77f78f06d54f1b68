"""Options of a server, which apply to all its generations: limits, and what is shown."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from loratorio_ext.setting import declare, declared

MEBIBYTE = 2**20


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
        (0, 100, 1),
    )
    history_memory: int = declare(
        256,
        "Memory for runs kept, in MB",
        "The computer's own memory, not the graphics card's. The oldest runs are forgotten first.",
        (1, 8192, 1),
    )
    rows: int = declare(
        0,
        "Most rows per model call",
        "How many predictions the model may be asked for at once, whatever a generation's own setting says. "
        "Low: less memory, slower. 0: no limit.",
        (0, 1024, 1),
    )
    network_memory: int = declare(
        2048,
        "Graphics memory for networks, in MB",
        "Copies of networks that are kept ready on the graphics card between model calls. Low: less memory, "
        "but large pools and networks with dense weights take longer.",
        (0, 65536, 1),
    )
    overlay: Literal["off", "gallery", "gallery and file"] = declare(
        "off",
        "Picture of who spoke where",
        "off: only in the inspector. gallery: also next to the pictures. gallery and file: also saved with "
        "them.",
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
        return min((rows for rows in (self.rows, batch_rows) if rows > 0), default=0)

    @classmethod
    def from_values(cls, values: Mapping[str, object]) -> Options:
        """Options by name; what is missing or not allowed has its default, since files are edited by hand."""
        allowed: dict[str, Any] = {}
        for option in OPTIONS:
            with suppress(ValueError):
                allowed[option.name] = option.check(values.get(option.name, option.default))
        return cls(**allowed)


OPTIONS = declared(Options)


def option_key(name: str) -> str:
    """The key of an option in a WebUI's settings file; must not change."""
    return f"loratorio_{name}"
