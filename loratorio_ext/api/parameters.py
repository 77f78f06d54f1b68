"""Parameters of a route's path and query: read, checked and described alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from loratorio_ext.api.question import Refusal
from loratorio_ext.setting import Setting, Value, shown
from loratorio_ext.settings_schema import setting_schema


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        value: its name, type, range, default and help.
        place: "path" or "query".
        has_default: whether a query without it gets the default; else it is then missing.
    """

    value: Setting
    place: Literal["path", "query"] = "query"
    has_default: bool = True

    def read(self, text: str) -> Value:
        """The value.

        Raises:
            Refusal: 422, not such a value; names the text and what is allowed.
        """
        try:
            return self.value.parse(text)
        except ValueError as error:
            raise Refusal(422, f"{self.value.name} is {shown(text)}; give {self.value.allowed}") from error

    def to_openapi(self) -> dict[str, object]:
        """An OpenAPI parameter object."""
        schema = setting_schema(self.value)
        description = schema.pop("description")
        if self.place == "path" or not self.has_default:
            del schema["default"]
        return {
            "name": self.value.name,
            "in": self.place,
            "required": self.place == "path",
            "description": description,
            "schema": schema,
        }


def number(name: str, explanation: str, lowest: int, highest: int, default: int) -> Setting:
    """A whole number."""
    return Setting(name, default, name, explanation, "", lowest, highest, 1)


def in_path(name: str, explanation: str, lowest: int = 0) -> Parameter:
    """A whole number in the path, up to a billion."""
    return Parameter(number(name, explanation, lowest, 10**9, lowest), "path")


def read_parameters(
    parameters: Sequence[Parameter], path: Mapping[str, str], query: Iterable[tuple[str, str]]
) -> dict[str, Value]:
    """All parameters of a request by name.

    Raises:
        Refusal: 422, a parameter that is unknown, there twice or not allowed.
    """
    known = {one.value.name: one for one in parameters if one.place == "query"}
    values = {name: one.value.default for name, one in known.items() if one.has_default}
    seen: set[str] = set()
    for name, text in query:
        if name not in known:
            allowed = f"give {' or '.join(known)}" if known else "this route takes none"
            raise Refusal(422, f"{shown(name)} is not a parameter here; {allowed}")
        if name in seen:
            raise Refusal(422, f"{name} is there twice; give it once")
        seen.add(name)
        values[name] = known[name].read(text)
    for one in parameters:
        if one.place == "path":
            values[one.value.name] = one.read(path[one.value.name])
    return values
