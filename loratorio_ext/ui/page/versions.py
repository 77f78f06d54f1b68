"""gradio 4 and 6 side by side: names of arguments that one of them lacks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def accepted(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """Those of ``arguments`` that ``function`` names among its parameters."""
    known = inspect.signature(function).parameters
    return {name: value for name, value in arguments.items() if name in known}
