"""Errors of finding and reading networks, and how untrusted text is shown in them."""

from __future__ import annotations

from pathlib import Path


def shown(text: str, limit: int = 60) -> str:
    """Untrusted text for a message: quoted, escaped, at most `limit` characters of it."""
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


class NetworkFileError(ValueError):
    """A network file that cannot be used. The message names the file, the reason and the remedy.

    path: the file. reason: the message without the file.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"network file {shown(path.name, 120)}: {reason}")
        self.path = path
        self.reason = reason


class UnknownNetworkError(ValueError):
    """No network, or more than one, has this name.

    name: what was asked for. near: names that exist and look alike, best first; where the name is
    ambiguous, the names that tell the files apart.
    """

    def __init__(self, name: str, reason: str, near: tuple[str, ...] = ()) -> None:
        super().__init__(f"network {shown(name)}: {reason}")
        self.name = name
        self.near = near


class LayerPartsError(ValueError):
    """The parts that a file holds for one layer make no delta; the message is the reason and the remedy."""
