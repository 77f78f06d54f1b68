"""Rows of encoded prompts: tensors [rows, tokens, width], or dicts of them (SDXL)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from loratorio_ext.run import Branch


def row_of(text: Any, row: int) -> Any:
    """One row, as a text of one row."""
    if isinstance(text, dict):
        return _like(text, {name: part[row : row + 1] for name, part in text.items()})
    return text[row : row + 1]


def joined(texts: Sequence[Any]) -> Any:
    """The rows of all texts, one after the other; the texts must be equally long."""
    first = texts[0]
    if isinstance(first, dict):
        return _like(first, {name: torch.cat([text[name] for text in texts]) for name in first})
    return torch.cat(list(texts))


class TokenMarks:
    """Tokens that an extension puts in front of the prompt's: the same in every row and at every step.

    ControlNet tells conditional rows from unconditional ones by such a token, whose numbers are all the same
    (sd-webui-controlnet, scripts/hook.py, ``mark_prompt_context``). Looking at it waits for the device, so
    that is done once.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[Branch, int], Tensor | None] = {}

    def put(self, text: Any, given: Any, branch: Branch) -> Any:
        """The text with the marks of the ``given`` one, of the same branch.

        Both texts come from the same prompts, so without marks they are equally long.
        """
        own, marked = _tokens(text), _tokens(given)
        surplus = marked.shape[1] - own.shape[1]
        if surplus <= 0:
            return text
        if (branch, surplus) not in self._known:
            found = marked[:1, :surplus]
            are_marks = torch.equal(found.amin(-1), found.amax(-1))
            self._known[branch, surplus] = found if are_marks else None
        marks = self._known[branch, surplus]
        if marks is None:
            return text
        tokens = torch.cat((marks.expand(len(own), -1, -1).to(own), own), dim=1)
        return _like(text, {**text, "crossattn": tokens}) if isinstance(text, dict) else tokens


def _tokens(text: Any) -> Tensor:
    """What cross-attention reads: [rows, tokens, width]."""
    tokens: Tensor = text["crossattn"] if isinstance(text, dict) else text
    return tokens


def _like(text: dict[str, Tensor], parts: dict[str, Tensor]) -> Any:
    """A new dict of the WebUI's own class, which has a shape."""
    return type(text)(parts)
