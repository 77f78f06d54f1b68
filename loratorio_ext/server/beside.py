"""Folders of the project that a WebUI wants beside the package, and that come along when it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

PACKAGE: Final = Path(__file__).resolve().parents[1]


def folder_beside(name: str, package: Path = PACKAGE) -> Path | None:
    """``localizations`` or ``javascript``: inside an installed package, beside it in a checkout, or None.

    Inside comes first: beside an installed package, a folder of this name would be somebody else's.
    """
    places = (package / name, package.parent / name)
    return next((place for place in places if place.is_dir()), None)
