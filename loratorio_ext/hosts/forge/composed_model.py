"""The model as an evaluation composed it, for extensions that call it once more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loratorio_ext.hosts.forge import webui
from loratorio_ext.hosts.forge.model_calls import RowsOfRun
from loratorio_ext.hosts.forge.texts import TEXT, Texts
from loratorio_ext.hosts.webuis.attempt import attempt
from loratorio_ext.run import Again, Half, Source

ApplyModel = Callable[..., Tensor]
"""Forge's (x, sigma, **conditions) → denoised predictions, one row each."""


@dataclass(frozen=True)
class Place:
    """Whose text a chunk of a call has.

    Attributes:
        half: the conditional or the unconditional side.
        number: of the dict on that side; None: the chunk has a text of its own.
    """

    half: Half
    number: int | None


@dataclass(frozen=True)
class Call:
    """One call of the model.

    Attributes:
        apply_model: the base's, with the kept networks.
        x: noisy latents [chunks × B, C, H, W].
        sigma: noise level of each row.
        c: conditions, as Forge's wrappers are given them.
        places: whose text each chunk has.
    """

    apply_model: ApplyModel
    x: Tensor
    sigma: Tensor
    c: Mapping[str, Any]
    places: Sequence[Place]


@dataclass(frozen=True)
class ComposedModel:
    """Answers model calls of the evaluation's noise level, with rows as Forge lays them out.

    A chunk is predicted by the sources that made the evaluation's prediction of its text, with their weights
    there; a text that the evaluation did not have, as the unconditional. Every source takes a call of its
    own, whose rows are the given ones, since whoever calls again often has changed what happens between them.
    Calls of another size than the latent's get the predictions of all networks merged, as a weight belongs to
    a place; so do calls that could not be composed, for want of memory say.

    Attributes:
        again: how the evaluation was made; None: all networks act merged.
        rows_of_run: gives rows their networks.
        strengths: the router's strengths of a row, by source.
        texts: conditions by source; the base's for sources that are not in it.
        shape: of the latents [B, C, H, W].
        failed: is told why the composed answer could not be given.
    """

    again: Again | None
    rows_of_run: RowsOfRun
    strengths: Callable[[Source], Sequence[float]]
    texts: Mapping[Source, Texts]
    shape: torch.Size
    failed: Callable[[str], None]

    def predict(self, apply_model: ApplyModel, x: Tensor, sigma: Tensor, c: Mapping[str, Any]) -> Tensor:
        """Denoised predictions [chunks × B, C, H, W].

        Args:
            apply_model: the base's, with the kept networks.
            x: noisy latents, like the result.
            sigma: noise level of each row.
            c: conditions of a call, as Forge's wrappers are given them.
        """
        chunks = len(c["transformer_options"]["cond_or_uncond"])
        images = self.shape[0]
        places = [Place("cond", None)] * chunks
        if len(x) == chunks * images:
            places = [self._place(c, chunk, chunks) for chunk in range(chunks)]
        call = Call(apply_model, x, sigma, c, places)
        composed: list[Tensor] = []
        again = self.again if x.shape == (chunks * images, *self.shape[1:]) else None
        if again is not None:
            reason = attempt(lambda: composed.append(self._composed(again, call)), "composing a further call")
            if reason is None:
                return composed[0]
            self.rows_of_run.release()
            self.failed(reason)
        return self._of("merged", call)

    def _composed(self, again: Again, call: Call) -> Tensor:
        rows = [_rows(place, self.shape[0]) for place in call.places]
        needed = [again.sources(*asked) for asked in rows]
        sources = dict.fromkeys(source for some in needed for source in some)
        predicted = {source: self._of(source, call).chunk(len(rows)) for source in sources}
        return torch.cat(
            [
                again.prediction(*asked, {source: predicted[source][chunk] for source in needed[chunk]})
                for chunk, asked in enumerate(rows)
            ]
        )

    def _of(self, source: Source, call: Call) -> Tensor:
        conditions = self._with_texts(source, call)
        with self.rows_of_run.acting([self.strengths(source)] * len(call.x)):
            return call.apply_model(call.x, call.sigma, **conditions)

    def _with_texts(self, source: Source, call: Call) -> dict[str, Any]:
        """The conditions with the texts that a source sees, and hints that were made from them."""
        conditions, places = dict(call.c), call.places
        if source not in self.texts or source == "base" or all(place.number is None for place in places):
            return conditions
        for name in TEXT:
            if name in call.c:
                first, *others = [
                    self._text(source, name, place, own)
                    for place, own in zip(places, call.c[name].chunk(len(places)), strict=True)
                ]
                conditions[name] = first.concat(others)
        control = conditions.pop("control_model", None)
        if control is not None:
            conditions.pop("control", None)
            webui.forget_features(control)
            conditions["control"] = control.get_control(call.x, call.sigma, dict(conditions), len(places))
            conditions["control_model"] = control
        return conditions

    def _text(self, source: Source, name: str, place: Place, own: Tensor) -> Any:
        """Forge's Condition of one chunk."""
        if place.number is None:
            return type(self.texts["base"].cond[0]["model_conds"][name])(own)
        condition = self.texts[source].of(place.half)[place.number]["model_conds"][name]
        return condition.process_cond(batch_size=len(own), device=own.device)

    def _place(self, c: Mapping[str, Any], chunk: int, chunks: int) -> Place:
        given = {name: c[name].chunk(chunks)[chunk] for name in TEXT if name in c}
        for half in ("cond", "uncond"):
            for number, part in enumerate(self.texts["base"].of(half)):
                if _has_text(part, given):
                    return Place(half, number)
        return Place("uncond", None)


def _rows(place: Place, images: int) -> tuple[Half, slice]:
    number = place.number or 0
    return place.half, slice(number * images, (number + 1) * images)


def _has_text(part: Mapping[str, Any], given: Mapping[str, Tensor]) -> bool:
    """Whether a chunk's text is a dict's, repeated as Forge does it (condition.py)."""
    conds = part["model_conds"]
    return given.keys() == {name for name in TEXT if name in conds} and all(
        _is_repeated(conds[name].process_cond(batch_size=len(text), device=text.device).cond, text)
        for name, text in given.items()
    )


def _is_repeated(tokens: Tensor, text: Tensor) -> bool:
    """[B, t, C] as [B, n · t, C]; [B, C] as it is."""
    if tokens.dim() == 3 and text.shape[1] % tokens.shape[1] == 0:
        tokens = tokens.repeat(1, text.shape[1] // tokens.shape[1], 1)
    return tokens.shape == text.shape and torch.equal(tokens.to(text), text)
