"""The prompt's texts in the conditions of an evaluation, and other texts in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from loratorio_ext.run import Half

Parts = Sequence[Mapping[str, Any]]
"""Conditions of an evaluation: one dict for each AND sub-prompt, each with a row for every image."""

TEXT = ("c_crossattn", "y")
"""Entries of a dict's model_conds that come from the prompt; the others belong to the picture."""


@dataclass(frozen=True)
class Texts:
    """Conditions of one source; uncond is None without guidance."""

    cond: Parts
    uncond: Parts | None

    def of(self, half: Half) -> Parts:
        """The dicts of one side; none without guidance."""
        return self.cond if half == "cond" else self.uncond or ()


def places_of_texts(parts: Parts | None, own: Parts | None) -> list[int] | None:
    """For each dict the place of the prompt's own dict that it has the text of; None where one has another.

    Extensions multiply dicts, to give each its mask or area; some put texts of their own into them.
    """
    found = [
        next((place for place, text in enumerate(own or ()) if _same_text(part, text)), None)
        for part in parts or ()
    ]
    known = [place for place in found if place is not None]
    return known if len(known) == len(found) else None


def with_texts(parts: Parts | None, texts: Parts | None, places: Sequence[int]) -> Parts | None:
    """The dicts of ``parts``, each with the text at its place in ``texts``; masks and hints stay."""
    if parts is None or texts is None:
        return parts
    return [
        {**part, "model_conds": part["model_conds"] | _text_of(texts[place])}
        for part, place in zip(parts, places, strict=True)
    ]


def _text_of(part: Mapping[str, Any]) -> dict[str, Any]:
    return {name: part["model_conds"][name] for name in TEXT if name in part["model_conds"]}


def _same_text(part: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    ours, theirs = _text_of(part), _text_of(other)
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name].cond, theirs[name].cond.to(ours[name].cond)) for name in ours
    )
