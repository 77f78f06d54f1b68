"""What one setting is: name, type, range, default, label, help and infotext key; and how values are read."""

from __future__ import annotations

import json
import re
import reprlib
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import Any, Final, get_args, get_type_hints

Value = bool | int | float | str

INFOTEXT_PREFIX: Final = "LoRAtorio "
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER: Final = re.compile(r"[+-]?([0-9]{1,40}(\.[0-9]{0,40})?|\.[0-9]{1,40})([eE][+-]?[0-9]{1,4})?")

# What a text on one line may not hold or end with. Other characters that cannot be displayed are refused by
# `Setting.check` alone: their list depends on the version of Unicode and would be longer than all the rest.
_UNSHOWN: Final = r"\u0000-\u001f\u007f-\u00a0\u00ad\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff"
# No space at either end. The last part means the end of the text; "$" also matches before a last line break.
_LINE: Final = rf'^(?! )([^"{_UNSHOWN}]*[^ "{_UNSHOWN}])?(?![\s\S])'


@dataclass(frozen=True)
class Setting:
    """Describes one setting.

    Attributes:
        name: field of `Settings`, key in dicts and JSON.
        default: value of an untouched setting; its type is the setting's type.
        label: short name in a user interface.
        help: what it does; what a low and what a high value does.
        infotext: key in a picture's infotext.
        minimum: lowest value of a number.
        maximum: highest value of a number.
        step: a slider's step; values in between are allowed.
        choices: the values of a text; empty: any text of at most ``maximum`` characters.
        unnamed: what infotexts, presets and API requests mean that do not name it. Not the default where they
            may be older than the setting: they go on giving the same pictures.
        usable: lowest and highest value that a slider offers, where few want others; these are taken too.
    """

    name: str
    default: Value
    label: str
    help: str
    infotext: str
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    unnamed: Value | None = None
    usable: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.unnamed is None:
            object.__setattr__(self, "unnamed", self.default)

    @property
    def type(self) -> type[bool] | type[int] | type[float] | type[str]:
        """One of bool, int, float, str."""
        return type(self.default)

    @property
    def allowed(self) -> str:
        """The allowed values in words."""
        if self.type is bool:
            return "true or false"
        if self.type is str and not self.choices:
            return f"a text on one line, without quotes, of at most {self.maximum:g} characters"
        if self.type is str:
            return " or ".join(json.dumps(choice) for choice in self.choices)
        if self.type is int:
            return f"a whole number from {self.minimum:.0f} to {self.maximum:.0f}"
        return f"a number from {self.minimum:g} to {self.maximum:g}"

    def check(self, value: object) -> Value:
        """The value in the setting's type. A float without fraction may stand for an int, as in JavaScript.

        Numbers of NumPy may stand for Python's.

        Raises:
            ValueError: another type, or outside the range; names the value and what is allowed.
        """
        if self.type is bool and isinstance(value, bool):
            return value
        if self.type is str and isinstance(value, str) and self._is_allowed(value):
            return str(value)
        if self.type in (int, float) and not isinstance(value, bool) and isinstance(value, Real):
            number: Any = value
            lowest, highest = self.minimum, self.maximum
            # False for NaN.
            inside = lowest is not None and highest is not None and lowest <= number <= highest
            if inside and self.type is float:
                return float(number) + 0.0  # -0.0 becomes 0.0
            if inside and number == int(number):
                return int(number)
        raise self._error(value)

    def parse(self, text: str) -> Value:
        """The value as it is written in an infotext, in a web address or on a command line.

        Raises:
            ValueError: not such a value; names the text and what is allowed.
        """
        text = text.strip()
        if self.type is bool and text.lower() in ("true", "false"):
            return text.lower() == "true"
        if self.type is int and _WHOLE.fullmatch(text):
            return self.check(int(text))
        if self.type is float and _NUMBER.fullmatch(text):
            return self.check(float(text))
        if self.type is str:
            return self.check(text)
        raise self._error(text)

    def to_schema(self) -> dict[str, object]:
        """JSON Schema (draft 2020-12) of the value."""
        schema = {"title": self.label, "description": self.help, "default": self.unnamed}
        if self.type is bool:
            return {**schema, "type": "boolean"}
        if self.choices:
            return {**schema, "type": "string", "enum": list(self.choices)}
        if self.type is str:
            return {**schema, "type": "string", "maxLength": self.maximum, "pattern": _LINE}
        kind = "integer" if self.type is int else "number"
        return {**schema, "type": kind, "minimum": self.minimum, "maximum": self.maximum}

    def _is_allowed(self, text: str) -> bool:
        if self.choices or self.maximum is None:
            return text in self.choices
        # What an infotext can carry and give back.
        return len(text) <= self.maximum and text == text.strip() and text.isprintable() and '"' not in text

    def _error(self, value: object) -> ValueError:
        return ValueError(f"{self.name} is {shown(value)}; give {self.allowed} (default {self.default!r})")


def declare(
    default: Value,
    label: str,
    explanation: str,
    limits: tuple[float | None, float | None, float | None] = (None, None, None),
    *,
    key: str = "",
    unnamed: Value | None = None,
    usable: tuple[float, float] | None = None,
) -> Any:
    """A field that carries its `Setting`; limits are minimum, maximum and step.

    The key in the infotext is the field's name in words, unless ``key`` is another.
    """
    described = Setting("", default, label, explanation, key, *limits, unnamed=unnamed, usable=usable)
    return field(default=default, metadata={"setting": described})


def declared(kind: type) -> tuple[Setting, ...]:
    """The settings of a dataclass whose fields are made by `declare`; a field's Literal gives the choices."""
    hints = get_type_hints(kind)
    settings = []
    for one in fields(kind):
        found: Setting = one.metadata["setting"]
        key = INFOTEXT_PREFIX + (found.infotext or one.name.replace("_", " "))
        settings.append(replace(found, name=one.name, infotext=key, choices=get_args(hints[one.name])))
    return tuple(settings)


def shown(value: object) -> str:
    """A value for a message, short whatever it is."""
    if isinstance(value, int) and value.bit_length() > 100:
        return "a huge number"  # Python may refuse to write it out
    return reprlib.repr(value)
