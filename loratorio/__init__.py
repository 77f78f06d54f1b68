"""LoRAtorio in Python: several LoRA networks in one picture, place by place.

These are the public names of `loratorio_ext`, the package that a WebUI loads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import loratorio_ext
from loratorio_ext import __version__

if TYPE_CHECKING:
    from loratorio_ext import DiffusersHost, PipelineComposition, Report, Request, Result, Settings, compose

__all__ = [
    "DiffusersHost",
    "PipelineComposition",
    "Report",
    "Request",
    "Result",
    "Settings",
    "__version__",
    "compose",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, since torch takes seconds."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(loratorio_ext, name)


def __dir__() -> list[str]:
    return [*__all__]
