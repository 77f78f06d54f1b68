"""What is wrong with something a user wrote, so that it can be said in any language."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class Problem:
    """A sentence with places for values; ``str`` of it is English.

    Attributes:
        text: English, with the values' names in braces; fit to be looked up in a language file.
        values: what stands in the places: numbers, texts fit to be shown, or other problems.
    """

    text: str
    values: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}), hash=False)

    def said(self, say: Callable[..., str]) -> str:
        """The sentence in another language.

        Args:
            say: is given a text and its values by name; returns the translated text with the values in it.
        """
        values = {
            name: value.said(say) if isinstance(value, Problem) else value
            for name, value in self.values.items()
        }
        return say(self.text, **values)

    def __str__(self) -> str:
        return self.said(lambda text, **values: text.format(**values))
