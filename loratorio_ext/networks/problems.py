"""Sentences about what users wrote, with untrusted text in them. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


def shown(text: str, limit: int = 60) -> str:
    """Untrusted text for a message: quoted, escaped, at most `limit` characters of it."""
    return repr(text if len(text) <= limit else text[: limit - 1] + "…")


@dataclass(frozen=True)
class Problem:
    """A sentence with places for values; ``str`` of it is English.

    text: English, with the values' names in braces, as it stands in language files. values: numbers, texts
    fit to be shown, or other problems.
    """

    text: str
    values: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    def said(self, say: Callable[..., str]) -> str:
        """The sentence in another language; ``say`` translates a text and puts its values, by name, in it."""
        said = {name: one.said(say) if isinstance(one, Problem) else one for name, one in self.values.items()}
        return say(self.text, **said)

    def __str__(self) -> str:
        return self.said(lambda text, **values: text.format(**values))
