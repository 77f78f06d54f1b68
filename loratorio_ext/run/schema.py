"""JSON and JSON Schema of dataclasses whose fields are annotated with what they mean: declared once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import is_dataclass
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

_TYPES: Final[Mapping[type, str]] = MappingProxyType(
    {bool: "boolean", int: "integer", float: "number", str: "string"}
)


class Described:
    """Makes a field part of a dataclass's JSON form: ``index: Annotated[int, Described("…", minimum=0)]``."""

    def __init__(self, description: str, **schema: object) -> None:
        """Say what the field holds.

        Args:
            description: for readers of the JSON.
            schema: further keywords of JSON Schema, such as ``minimum``; for a list they apply to its items.
        """
        self.description = description
        self.schema = schema


def to_json(value: Any) -> Any:
    """A value for ``json.dumps``: dataclasses by their described fields, NaN and infinities as None."""
    if is_dataclass(value):
        return {name: to_json(getattr(value, name)) for name in _described(type(value))}
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: to_json(one) for name, one in value.items()}
    return [to_json(one) for one in value] if isinstance(value, list | tuple) else value


def schema_of(kind: type) -> dict[str, Any]:
    """JSON Schema of a dataclass's JSON form; see https://json-schema.org/draft/2020-12/schema."""
    properties = {
        name: {**_schema_of_type(hint, said.schema), "description": said.description}
        for name, (hint, said) in _described(kind).items()
    }
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _described(kind: type) -> dict[str, tuple[Any, Described]]:
    """Name → (type, description) of the described fields, in order."""
    hints = get_type_hints(kind, include_extras=True)
    annotated = {name: get_args(hint) for name, hint in hints.items() if get_origin(hint) is Annotated}
    return {name: (hint, said) for name, (hint, said, *_) in annotated.items() if isinstance(said, Described)}


def _schema_of_type(hint: Any, more: Mapping[str, object]) -> dict[str, Any]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (kind,) = (one for one in arguments if one is not NoneType)
        schema = _schema_of_type(kind, more)
        return {**schema, "type": [schema["type"], "null"]}
    if origin is tuple:
        return {"type": "array", "items": _schema_of_type(arguments[0], more)}
    if origin is Literal:
        return {"type": _TYPES[type(arguments[0])], "enum": list(arguments)}
    if isinstance(hint, type) and is_dataclass(hint):
        return schema_of(hint)
    return {"type": _TYPES.get(hint, "object"), **more}
