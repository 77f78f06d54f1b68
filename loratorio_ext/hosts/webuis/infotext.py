"""LoRAtorio's keys in the infotext of the pictures to come."""

from __future__ import annotations

from typing import Any

from loratorio_ext.settings import INFOTEXT_PREFIX, Settings

STOPPED = f"{INFOTEXT_PREFIX}stopped at"
"""The key that says from which model call on a picture was not composed any more."""


def write_infotext(p: Any, settings: Settings) -> None:
    """Say in the pictures to come that they are composed, and how."""
    p.extra_generation_params.update(settings.infotext_fields())


def forget_infotext(p: Any) -> None:
    """Say nothing; scripts that copy ``p`` share the dict of an earlier generation."""
    for key in [one for one in p.extra_generation_params if one.startswith(INFOTEXT_PREFIX)]:
        del p.extra_generation_params[key]
