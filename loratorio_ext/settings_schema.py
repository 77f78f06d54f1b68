"""The settings as a JSON Schema, for programs that build a form or check values before they send them."""

from __future__ import annotations

from typing import Final

from loratorio_ext.setting import Setting
from loratorio_ext.settings import SETTINGS

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

# What a text on one line may not hold or end with. Letters that no font shows, beyond these, are refused by
# `Setting.check` alone: their list depends on the version of Unicode and would be longer than all the rest.
_UNSHOWN: Final = r"\u0000-\u001f\u007f-\u00a0\u00ad\u1680\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff"
# No blank at an end. The last part means the end of the text; "$" also stands before a last line break.
_LINE: Final = rf'^(?! )([^"{_UNSHOWN}]*[^ "{_UNSHOWN}])?(?![\s\S])'


def settings_schema() -> dict[str, object]:
    """JSON Schema (draft 2020-12) of the named settings, as `Settings.from_dict` takes them.

    What it accepts is accepted there too, except a start above the end, and texts with letters that are not
    printable; what it refuses is refused there too.
    """
    return {
        "$schema": DIALECT,
        "title": "Settings of LoRAtorio",
        "description": "What is missing has its default. start must not be above end.",
        "type": "object",
        "properties": {one.name: setting_schema(one) for one in SETTINGS},
        "additionalProperties": False,
    }


def setting_schema(setting: Setting) -> dict[str, object]:
    """JSON Schema of one setting's value."""
    schema: dict[str, object] = {
        "title": setting.label,
        "description": setting.help,
        "default": setting.default,
    }
    if setting.type is bool:
        return {**schema, "type": "boolean"}
    if setting.choices:
        return {**schema, "type": "string", "enum": list(setting.choices)}
    if setting.type is str:
        return {**schema, "type": "string", "maxLength": int(setting.maximum or 0), "pattern": _LINE}
    kind = "integer" if setting.type is int else "number"
    lowest, highest = setting.minimum, setting.maximum
    if setting.type is int and lowest is not None and highest is not None:
        lowest, highest = int(lowest), int(highest)
    return {**schema, "type": kind, "minimum": lowest, "maximum": highest}
