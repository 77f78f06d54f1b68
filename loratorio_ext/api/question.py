"""What a route is asked, and how it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from loratorio_ext.server.server import Server
from loratorio_ext.setting import Value


class Refusal(Exception):  # noqa: N818 - it is the normal answer to a wrong question, not a fault of ours
    """An answer that is no success.

    status: HTTP status. detail: what was wrong, what is allowed, what to do.
    """

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


@dataclass(frozen=True)
class Question:
    """One request, checked.

    Attributes:
        server: what the running server knows.
        given: the parameters of path and query by name; those that were left out are missing or have their
            default, as the route says.
        body: the parsed JSON body; None for routes without one.
    """

    server: Server
    given: Mapping[str, Value] = field(default_factory=lambda: MappingProxyType({}))
    body: object = None

    def number(self, name: str) -> int:
        """A whole number that is there for certain: of the path, or with a default.

        Raises:
            KeyError: the route has no such parameter; a mistake in the route.
        """
        return int(self.given[name])

    def text(self, name: str) -> str:
        """A text likewise."""
        return str(self.given[name])
