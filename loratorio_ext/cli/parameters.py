"""The parameters of a picture as one text, in the form that the WebUI writes and reads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from loratorio_ext.hosts.diffusers_host import Request, Result
    from loratorio_ext.run import Report

# What a step's report calls each method.
MODES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "loratorio": "composed",
        "merge": "merged",
        "switch": "switch",
        "composite": "composite",
        "base": "base",
    }
)


def picture_parameters(
    request: Request, result: Result, model: Path, seed: int, size: tuple[int, int]
) -> str:
    """The parameters of one picture, in the form that the WebUI writes and reads."""
    negative = f"\nNegative prompt: {request.negative_prompt}" if request.negative_prompt else ""
    facts = [
        f"Steps: {request.steps}",
        f"CFG scale: {request.cfg:g}",
        f"Seed: {seed}",
        f"Size: {size[0]}x{size[1]}",
    ]
    if result.sampler:
        facts.append(f"Sampler: {_quoted(result.sampler)}")
    name = model.stem if model.suffix.lower() == ".safetensors" else model.resolve().name
    facts.append(f"Model: {_quoted(name)}")
    facts += _combination(request, result.report)
    return f"{request.prompts[0]}{negative}\n" + ", ".join(facts)


def _quoted(text: str) -> str:
    """`text`, in quotes where a comma, a colon or a line break would end its field."""
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ',:\n"') else text


def _combination(request: Request, report: Report) -> list[str]:
    """How the networks were combined, by what the steps did and not by what was asked for."""
    if not report.composed:
        return []
    happened = {step.mode for step in report.steps}
    # A window that holds no step leaves every step to the usual way.
    as_asked = MODES[request.method] in happened
    facts = [f"Networks combined by: {request.method if as_asked else 'merge'}"]
    if request.method == "switch":
        facts.append(f"Switch every: {request.switch_every}")
    if request.method == "loratorio":
        facts.append(replace(request.settings, enabled=as_asked).to_infotext())
    return facts
