"""Trying what may fail in a WebUI, where nothing of ours may end a generation."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable

logger = logging.getLogger("loratorio")


def attempt(action: Callable[[], None], what: str = "composing") -> str | None:
    """What went wrong, or None. Afterwards the exception is gone, and with it what its frames held."""
    try:
        action()
    except Exception as error:  # noqa: BLE001 - whatever it is, the picture must not be the base's alone
        # As text: a log record with the exception in it would hold the frames too.
        logger.warning("%s failed\n%s", what, traceback.format_exc())
        return str(error) or type(error).__name__
    return None
