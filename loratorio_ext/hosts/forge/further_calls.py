"""The model as an evaluation composed it, for extensions that call it again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from loratorio_ext.hosts.forge import webui
from loratorio_ext.hosts.forge.evaluation import without_frames
from loratorio_ext.hosts.forge.texts import TEXT, Texts, text_of
from loratorio_ext.hosts.webuis.generation import attempt
from loratorio_ext.networks.router import Router
from loratorio_ext.run import BRANCHES, Branch, FrozenComposition, Routes, Row, Source

ApplyModel = Callable[..., Tensor]
"""Forge's (x, sigma, **conditions) → denoised predictions, one row each."""


@dataclass(frozen=True)
class ChunkText:
    """Whose text a chunk of a call has.

    Attributes:
        branch: conditional or unconditional.
        number: of the dict in that branch; None: the chunk has a text of its own.
    """

    branch: Branch
    number: int | None

    def rows(self, images: int) -> slice:
        """The step's conditional rows with that text."""
        number = self.number or 0
        return slice(number * images, (number + 1) * images)


@dataclass(frozen=True)
class ModelCall:
    """One call of the model.

    Attributes:
        apply_model: the base's, with the kept networks.
        x: noisy latents [chunks × B, C, H, W].
        sigma: noise level of each row.
        c: conditions, as Forge's wrappers are given them.
        chunks: whose text each chunk has.
    """

    apply_model: ApplyModel
    x: Tensor
    sigma: Tensor
    c: Mapping[str, Any]
    chunks: Sequence[ChunkText]


@dataclass(frozen=True)
class ComposedModel:
    """Answers model calls at the evaluation's noise level, with rows as Forge lays them out.

    A chunk is predicted by the sources that made the evaluation's prediction for its text, with their weights
    there; a text that the evaluation did not have is predicted as the unconditional. Every source takes a
    call of its own with the given rows, since extensions that call again often change what happens between
    rows. Calls of a size other than the latent's get the predictions of all networks merged, since a weight
    belongs to a place; so do calls that could not be composed, for example for lack of memory.

    Attributes:
        frozen: how the evaluation was made; None: all networks act merged.
        router: gives rows their networks.
        routes: how a row gets its networks.
        texts: conditions by source; a source that is not in it has the base's.
        given: the conditions that calls have.
        shape: of the latents [B, C, H, W].
        failed: is told why the composed answer could not be given.
    """

    frozen: FrozenComposition | None
    router: Router
    routes: Routes
    texts: Mapping[Source, Texts]
    given: Texts
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
        branches = [BRANCHES[one] for one in c["transformer_options"]["cond_or_uncond"]]
        count, images = len(branches), self.shape[0]
        chunks = [ChunkText(branch, None) for branch in branches]
        if len(x) == count * images:
            chunks = [self._text_of(c, chunk, count) for chunk in range(count)]
        call = ModelCall(apply_model, x, sigma, c, chunks)
        composed: list[Tensor] = []
        frozen = self.frozen if x.shape == (count * images, *self.shape[1:]) else None
        if frozen is not None:
            reason = attempt(
                lambda: composed.append(self._composed(frozen, call)), "composing a further call"
            )
            if reason is None:
                return composed[0]
            self.router.release()
            self.failed(reason)
        return self._of("merged", call)

    def _composed(self, frozen: FrozenComposition, call: ModelCall) -> Tensor:
        asked = [(chunk.branch, chunk.rows(self.shape[0])) for chunk in call.chunks]
        needed = [frozen.sources(*one) for one in asked]
        sources = dict.fromkeys(source for some in needed for source in some)
        predicted = {source: without_frames(self._of(source, call)).chunk(len(asked)) for source in sources}
        found = [
            frozen.prediction(*one, {source: predicted[source][chunk] for source in needed[chunk]})
            for chunk, one in enumerate(asked)
        ]
        return torch.cat(found).reshape(call.x.shape)

    def _of(self, source: Source, call: ModelCall) -> Tensor:
        conditions, images = self._with_texts(source, call), self.shape[0]
        each, surplus = divmod(len(call.x), len(call.chunks))
        rows = [Row(source, chunk.branch, 0) for chunk in call.chunks for _ in range(each)]
        rows += [Row(source, "cond", 0)] * surplus
        if source == "placed":  # asked for only where every chunk has a row for each image
            parts = ((chunk.branch, chunk.rows(images)) for chunk in call.chunks)
            rows = [
                Row(source, branch, index)
                for branch, part in parts
                for index in (range(part.start, part.stop) if branch == "cond" else range(images))
            ]
        with self.router.routing(*self.routes.of_rows(rows)):
            return call.apply_model(call.x, call.sigma, **conditions)

    def _with_texts(self, source: Source, call: ModelCall) -> dict[str, Any]:
        """The conditions with the texts that a source sees, and the hints made from them."""
        conditions, chunks = dict(call.c), call.chunks
        texts = self.texts.get(source, self.texts["base"])
        if texts is self.given or all(chunk.number is None for chunk in chunks):
            return conditions
        for name in TEXT:
            if name in call.c:
                first, *others = [
                    self._text(source, name, chunk, own)
                    for chunk, own in zip(chunks, call.c[name].chunk(len(chunks)), strict=True)
                ]
                conditions[name] = first.concat(others)
        control = conditions.pop("control_model", None)
        if control is not None:
            conditions.pop("control", None)
            webui.forget_features(control)
            conditions["control"] = control.get_control(call.x, call.sigma, dict(conditions), len(chunks))
            conditions["control_model"] = control
        return conditions

    def _text(self, source: Source, name: str, chunk: ChunkText, own: Tensor) -> Any:
        """Forge's Condition of one chunk."""
        if chunk.number is None:
            return type((self.given["cond"] or ())[0]["model_conds"][name])(own)
        texts = self.texts.get(source, self.texts["base"])
        condition = (texts[chunk.branch] or ())[chunk.number]["model_conds"][name]
        return condition.process_cond(batch_size=len(own), device=own.device)

    def _text_of(self, c: Mapping[str, Any], chunk: int, chunks: int) -> ChunkText:
        given = {name: c[name].chunk(chunks)[chunk] for name in TEXT if name in c}
        for branch, parts in self.given.items():
            for number, part in enumerate(parts or ()):
                if _has_text(part, given):
                    return ChunkText(branch, number)
        return ChunkText("uncond", None)


def _has_text(part: Mapping[str, Any], given: Mapping[str, Tensor]) -> bool:
    """Whether a chunk's text is that of a dict, repeated as Forge repeats it (condition.py)."""
    text = text_of(part)
    return given.keys() == text.keys() and all(
        _is_repeated(text[name].process_cond(batch_size=len(own), device=own.device).cond, own)
        for name, own in given.items()
    )


def _is_repeated(tokens: Tensor, text: Tensor) -> bool:
    """[B, t, C] as [B, n · t, C]; [B, C] as it is."""
    if tokens.dim() == 3 and text.shape[1] % tokens.shape[1] == 0:
        tokens = tokens.repeat(1, text.shape[1] // tokens.shape[1], 1)
    return tokens.shape == text.shape and torch.equal(tokens.to(text), text)
