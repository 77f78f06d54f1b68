"""Trigger words of a network: what its user, its publisher or its trainer wrote beside it or into its header.

The first of these that says any: "activation text" of NAME.json (the WebUI's own, extensions-builtin/Lora),
"trainedWords" of NAME.civitai.info (Civitai's description, saved by its helpers), modelspec.trigger_phrase of
the header (Stability AI's ModelSpec), and the most frequent tags of the training texts (kohya's
ss_tag_frequency), which were never meant as trigger words. All of it is hostile text.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loratorio_ext.networks.files.container import NetworkFileError, read_header

MAX_SIDECAR = 2**20
"""Largest description beside a file that is read, in bytes."""
MAX_WORDS = 16
MAX_LENGTH = 100
"""Longest trigger word, in characters; longer ones are left out."""
MAX_TAGS = 5
"""How many of the most frequent tags are taken."""


@dataclass(frozen=True)
class Triggers:
    """words: at most `MAX_WORDS`, each once, the first one first. guessed: they are only frequent tags."""

    words: tuple[str, ...] = ()
    guessed: bool = False

    @property
    def meant(self) -> tuple[str, ...]:
        """The words, unless they are guessed."""
        return () if self.guessed else self.words


NO_TRIGGERS = Triggers()


def triggers_of(path: Path) -> Triggers:
    """Of a network's file; what cannot be read says nothing."""
    activation = _described(path.with_suffix(".json")).get("activation text")
    trained = _described(path.with_name(f"{path.stem}.civitai.info")).get("trainedWords")
    for found in (_split(activation), _words(trained if isinstance(trained, list) else ())):
        if found:
            return Triggers(found)
    try:
        metadata = read_header(path).metadata
    except NetworkFileError:
        return NO_TRIGGERS
    phrase = _split(metadata.get("modelspec.trigger_phrase"))
    if phrase:
        return Triggers(phrase)
    tags = _frequent(metadata.get("ss_tag_frequency", ""))
    return Triggers(tags, guessed=True) if tags else NO_TRIGGERS


class TriggerReader:
    """Remembers what was read, until a file or what lies beside it changes."""

    def __init__(self) -> None:
        self._read: dict[Path, tuple[tuple[float, ...], Triggers]] = {}

    def of(self, path: str | Path) -> Triggers:
        """As `triggers_of`."""
        path = Path(path)
        beside = (path, path.with_suffix(".json"), path.with_name(f"{path.stem}.civitai.info"))
        times = tuple(map(changed_at, beside))
        known = self._read.get(path)
        if known is None or known[0] != times:
            known = self._read[path] = times, triggers_of(path)
        return known[1]


TriggersOf = Callable[[str], Triggers]
"""By a network's name; no words for a name that means no network."""


def changed_at(path: Path) -> float:
    """Time of a file's last change; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _described(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SIDECAR + 1)
        found = json.loads(text) if len(text) <= MAX_SIDECAR else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _split(text: object) -> tuple[str, ...]:
    return _words(text.split(",")) if isinstance(text, str) else ()


def _words(found: Iterable[object]) -> tuple[str, ...]:
    """Those that can be shown and written into a prompt: no tags, no line breaks."""
    texts = (" ".join(one.split()) for one in found if isinstance(one, str))
    usable = (one.strip(" ,") for one in texts if len(one) <= MAX_LENGTH and one.isprintable())
    return tuple(dict.fromkeys(one for one in usable if one and not set("<>") & set(one)))[:MAX_WORDS]


def _frequent(text: str) -> tuple[str, ...]:
    """Of {folder: {tag: how often}}."""
    try:
        folders = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    counts: Counter[str] = Counter()
    for tags in folders.values() if isinstance(folders, dict) else ():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if isinstance(count, int) and 0 < count < 2**31:
                counts[tag] += count
    return _words(tag for tag, _ in counts.most_common(MAX_TAGS))
