"""Compose several LoRA networks in one picture: LoRAtorio (arXiv 2508.11624) and what is around it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loratorio_ext.hosts.diffusers_host import DiffusersHost, Request, Result
    from loratorio_ext.hosts.pipelines import PipelineComposition, compose
    from loratorio_ext.run import Report
    from loratorio_ext.settings import Settings

__version__ = "0.1.0"
__all__ = ["DiffusersHost", "PipelineComposition", "Report", "Request", "Result", "Settings", "compose"]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: a WebUI has neither PEFT nor, perhaps, diffusers."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    modules = {"Settings": "settings", "Report": "run"}
    modules |= dict.fromkeys(("compose", "PipelineComposition"), "hosts.pipelines")
    try:
        module = importlib.import_module(f"{__name__}.{modules.get(name, 'hosts.diffusers_host')}")
    except ModuleNotFoundError as error:
        remedy = "pip install 'loratorio[diffusers]' (in a checkout: pip install -e '.[diffusers]')"
        raise ModuleNotFoundError(f"{name} needs {error.name}: {remedy}", name=error.name) from error
    return getattr(module, name)
