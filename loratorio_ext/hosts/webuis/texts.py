"""Rows of encoded prompts: tensors [rows, tokens, width], or dicts of them (SDXL, Flux)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def rows_of_text(text: Any, places: Sequence[int]) -> Any:
    """These rows, as a new text."""
    if isinstance(text, dict):
        return _like(text, {name: part[list(places)] for name, part in text.items()})
    return text[list(places)]


def joined_texts(texts: Sequence[Any]) -> Any:
    """The rows of all texts, one after the other; the texts must be equally long."""
    first = texts[0]
    if isinstance(first, dict):
        return _like(first, {name: torch.cat([text[name] for text in texts]) for name in first})
    return torch.cat(list(texts))


def with_marks_of(text: Any, given: Any) -> Any:
    """The text with the tokens that an extension has put in front of the ``given`` one.

    ControlNet tells conditional rows from unconditional ones by such a token: all its numbers are the same,
    in every row (sd-webui-controlnet, scripts/hook.py, ``mark_prompt_context``). Both texts stem from the
    same prompts, so they would be equally long.
    """
    own, marked = tokens_of(text), tokens_of(given)
    marks = marked[:1, : max(marked.shape[1] - own.shape[1], 0)]
    if marks.numel() == 0 or not torch.equal(marks.amin(-1), marks.amax(-1)):
        return text
    return _with_tokens(text, torch.cat((marks.expand(len(own), -1, -1).to(own), own), dim=1))


def tokens_of(text: Any) -> Tensor:
    """What cross-attention reads: [rows, tokens, width]."""
    tokens: Tensor = text["crossattn"] if isinstance(text, dict) else text
    return tokens


def _with_tokens(text: Any, tokens: Tensor) -> Any:
    return _like(text, {**text, "crossattn": tokens}) if isinstance(text, dict) else tokens


def _like(text: dict[str, Tensor], parts: dict[str, Tensor]) -> Any:
    """The host's dicts have a shape, so a new one is made of their kind."""
    return type(text)(parts)
