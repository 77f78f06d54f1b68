"""What a pasted infotext does to the panel's controls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from loratorio_ext.settings import SETTINGS, Setting, Value

_SWITCH = SETTINGS[0]


@dataclass(frozen=True)
class FromInfotext:
    """A setting's value as a pasted infotext means it.

    Equal for the same setting, so that the WebUI finds the fields of one tab in the other.
    """

    setting: Setting

    def __call__(self, found: Mapping[str, str]) -> Value | None:
        """The value; None leaves the control as it is.

        A key that is missing means the default, since defaults are not written down; a picture made without
        LoRAtorio has no key at all, and only switches it off. What cannot be read is taken as missing.
        """
        if _SWITCH.infotext not in found:
            return False if self.setting is _SWITCH else None
        try:
            return self.setting.parse(found[self.setting.infotext])
        except (KeyError, ValueError):
            return self.setting.default
