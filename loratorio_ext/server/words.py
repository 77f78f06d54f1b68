"""Every text that people read besides the settings' own: English in the source, other languages in files.

A language file is ``localizations/<name>.json``, English text → text, as AUTOMATIC1111's WebUI and Forge read
them (modules/localization.py): one file translates what the WebUI shows itself and what is said by us.
Numbers and names stand as ``{name}`` in both texts.
"""

from __future__ import annotations

import json
import logging
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

logger = logging.getLogger("loratorio")

ENGLISH: Final = "None"
"""The WebUI's name for its own language."""

PACKAGE: Final = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Words:
    """One language: English text → text; what is missing stays English."""

    texts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def __call__(self, text: str, **values: object) -> str:
        """The text in this language, with values in the places of ``{name}``."""
        translated = self.texts.get(text) or text
        if placeholders(translated) != placeholders(text):
            translated = text  # a file that was edited by hand must not break a page
        return translated.format(**values) if values else translated


def placeholders(text: str) -> frozenset[str]:
    """Names in braces, with the format where there is one; of a text that is no format string, nothing."""
    try:
        return frozenset(
            name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "")
            for _, name, form, conversion in string.Formatter().parse(text)
            if name is not None
        )
    except ValueError:
        return frozenset()


def folder_beside(name: str, package: Path = PACKAGE) -> Path | None:
    """``localizations`` or ``javascript``, folders that a WebUI wants beside the package.

    Returns:
        The folder inside an installed package, or beside it in a checkout; None where there is neither.
        Inside comes first: beside an installed package, a folder of this name would be somebody else's.
    """
    places = (package / name, package.parent / name)
    return next((place for place in places if place.is_dir()), None)


def language_files(package: Path = PACKAGE) -> dict[str, Path]:
    """Name of a language → its file."""
    folder = folder_beside("localizations", package)
    return {} if folder is None else {path.stem: path for path in sorted(folder.glob("*.json"))}


def words_in(language: str, package: Path = PACKAGE) -> Words:
    """The words of a language; English where there is no file for it, or none that can be read."""
    file = language_files(package).get(language)
    if file is None:
        return Words()
    try:
        changed = file.stat().st_mtime_ns
    except OSError:
        return Words()
    return _read(file, changed)


# Asked for at every event of a page: a file is read, and complained of, once for each time it was changed.
@lru_cache(maxsize=8)
def _read(file: Path, changed: int) -> Words:
    try:
        texts = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(texts, dict):
            raise ValueError(f"it holds a {type(texts).__name__}, not an object of texts")
    # RecursionError: brackets inside brackets, thousands deep.
    except (OSError, ValueError, RecursionError) as error:
        logger.warning("language file %s cannot be used, so texts are English: %s", file.name, error)
        return Words()
    return Words(MappingProxyType({key: text for key, text in texts.items() if isinstance(text, str)}))
