"""The prompt's texts in the conditions of an evaluation, and how to replace them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from loratorio_ext.hosts.forge import webui
from loratorio_ext.hosts.forge.backend import Backend
from loratorio_ext.hosts.webuis.conditions import Conditions
from loratorio_ext.method import RowMap
from loratorio_ext.run import Branch, Routes, Row, Source
from loratorio_ext.run.routes import mixed_text

Parts = Sequence[Mapping[str, Any]]
"""Conditions of an evaluation: one dict for each AND sub-prompt, each with a row for every image."""

Texts = Mapping[Branch, Parts | None]
"""Conditions of one source by branch; "uncond" is None without guidance."""

TEXT = ("c_crossattn", "y")
"""Entries of a dict's model_conds that come from the prompt; the others belong to the picture."""


def texts_at(backend: Backend, conditions: Conditions, step: int) -> Texts:
    """The prompt's own dicts at an evaluation."""
    composition, text, uncond = webui.texts_at((conditions.c, conditions.uc), step)
    return {"cond": backend.dicts_of(text, composition), "uncond": backend.unweighted(uncond)}


def texts_of_sources(
    backend: Backend, base: Texts, own: Texts, conditions: Mapping[Source, Conditions], step: int
) -> dict[Source, Texts] | None:
    """Texts by source, with the base's masks and hints; None where an extension has replaced the texts.

    Args:
        backend: of this Forge.
        base: the dicts that are evaluated.
        own: the prompt's, as the base sees them.
        conditions: of the sources whose conditions differ from the base's.
        step: number of the evaluation.
    """
    texts: dict[Source, Texts] = {"base": base}
    if not conditions:
        return texts
    places = places_of_texts(base, own)
    if None in places.values():
        return None
    for source, one in conditions.items():
        texts[source] = with_texts(base, texts_at(backend, one, step), places)
    return texts


def places_of_texts(texts: Texts, own: Texts) -> dict[Branch, list[int] | None]:
    """For each dict, the index of the prompt's own dict with the same text; None where one has another text.

    Extensions multiply dicts to give each a mask or an area; some put texts of their own into them. Waits for
    the device once.
    """
    pairs: list[tuple[Branch, int, int]] = []
    equal: list[Tensor] = []
    for branch in texts:
        for number, part in enumerate(texts[branch] or ()):
            for place, other in enumerate(own[branch] or ()):
                ours, theirs = text_of(part), text_of(other)
                if {name: one.cond.shape for name, one in ours.items()} == {
                    name: one.cond.shape for name, one in theirs.items()
                }:
                    pairs.append((branch, number, place))
                    same = [(ours[name].cond == theirs[name].cond.to(ours[name].cond)).all() for name in ours]
                    equal.append(torch.stack(same).all() if same else torch.tensor(True))
    found: dict[tuple[Branch, int], int] = {}
    flags = torch.stack([one.to(equal[0].device) for one in equal]).tolist() if equal else []
    for (branch, number, place), same_text in zip(pairs, flags, strict=True):
        if same_text:
            found.setdefault((branch, number), place)
    places: dict[Branch, list[int] | None] = {}
    for branch in texts:
        of_branch = [found.get((branch, number)) for number in range(len(texts[branch] or ()))]
        known = [place for place in of_branch if place is not None]
        places[branch] = known if len(known) == len(of_branch) else None
    return places


def with_texts(texts: Texts, others: Texts, places: Mapping[Branch, Sequence[int] | None]) -> Texts:
    """The dicts, each with the text at its index in ``others``; masks and hints stay.

    A branch without indices, or one that ``others`` does not have, stays as it is.
    """
    found: dict[Branch, Parts | None] = {}
    for branch, parts in texts.items():
        given, of_branch = others[branch], places[branch]
        if parts is None or given is None or of_branch is None:
            found[branch] = parts
            continue
        found[branch] = [
            {**part, "model_conds": part["model_conds"] | text_of(given[place])}
            for part, place in zip(parts, of_branch, strict=True)
        ]
    return found


def text_of(part: Mapping[str, Any]) -> dict[str, Any]:
    """A dict's Conditions (Forge's class) that come from the prompt, by name."""
    conds = part["model_conds"]
    return {name: conds[name] for name in TEXT if name in conds}


def placed_texts(texts: Mapping[Source, Texts], routes: Routes, rows: RowMap) -> Texts:
    """The texts of rows that place networks, for the evaluation that has begun."""
    own = [source for source in texts if isinstance(source, int)]

    def of(branch: Branch) -> Parts | None:
        shares = [routes.text_of(Row("placed", branch, image), rows, own) for image in range(rows.images)]
        parts = {source: texts.get(source, texts["base"])[branch] for one in shares for source, _ in one}
        if len(parts) == 1 or texts["base"][branch] is None:
            return next(iter(parts.values()))

        def mixed(name: str, number: int) -> Tensor:
            texts_of = {source: text_of((some or ())[number])[name].cond for source, some in parts.items()}
            return torch.cat(
                [
                    mixed_text([(row_of(texts_of[source], image), share) for source, share in one])
                    for image, one in enumerate(shares)
                ]
            )

        found = []
        for number, part in enumerate(texts["base"][branch] or ()):
            own_texts = {name: type(like)(mixed(name, number)) for name, like in text_of(part).items()}
            found.append({**part, "model_conds": part["model_conds"] | own_texts})
        return found

    return {branch: of(branch) for branch in texts["base"]}


def row_of(tensor: Tensor, image: int) -> Tensor:
    """The row of an image; Forge repeats rows where there are fewer than images (condition.py)."""
    place = image % len(tensor)
    return tensor[place : place + 1]
