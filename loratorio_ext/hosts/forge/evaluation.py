"""One evaluation of Forge's denoiser, as the run asks for it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from loratorio_ext.hosts.forge import webui
from loratorio_ext.hosts.forge.model_calls import RowsOfRun
from loratorio_ext.run import Half, Row, Source

Parts = Sequence[Mapping[str, Any]]
"""Conditions of an evaluation: one dict for each AND sub-prompt, each with a row for every image."""

Entry = tuple[Source, int]
"""A source and an image."""

# Entries of a dict's model_conds that come from the prompt; the others belong to the picture.
_TEXT = ("c_crossattn", "y")


@dataclass(frozen=True)
class Texts:
    """Conditions of one source; uncond is None without guidance."""

    cond: Parts
    uncond: Parts | None


@dataclass(frozen=True)
class ForgeEvaluation:
    """What a pre-CFG function is given (see ``run.Evaluation``).

    Predictions are denoised latents, whatever the sampler. Forge's mean over AND sub-prompts, areas and masks
    is linear, and an image's weights are the same for all its sub-prompts: so each source is evaluated as a
    whole, and there is one conditional row for each image.

    Attributes:
        model: Forge's KModel.
        rows_of_run: knows the strengths of the rows that are asked for, and gives them to the model.
        x: noisy latents [B, C, H, W].
        timestep: their sigmas [B].
        model_options: the UNet patcher's.
        texts: conditions by source; the base's for sources that are not in it.
        index: see ``run.Evaluation``.
        total: see ``run.Evaluation``.
    """

    model: Any
    rows_of_run: RowsOfRun
    x: Tensor
    timestep: Tensor
    model_options: Mapping[str, Any]
    texts: Mapping[Source, Texts]
    index: int
    total: int

    @property
    def sigma(self) -> Tensor:
        """Sigma of the first image."""
        return self.timestep[0]

    @property
    def subprompts(self) -> None:
        """There are none; see above."""
        return

    @property
    def images(self) -> int:
        """Number of images B."""
        return len(self.x)

    @property
    def cond_rows(self) -> int:
        """One for each image."""
        return len(self.x)

    @property
    def guided(self) -> bool:
        """Whether there is an unconditional prediction."""
        return self.texts["base"].uncond is not None

    def call_group(self, row: Row) -> Hashable:
        """Texts of different length never share a call."""
        texts = self._texts(row.source)
        parts = (*texts.cond, *(texts.uncond or ()))
        return tuple(tuple(part["model_conds"][_TEXT[0]].cond.shape[1:]) for part in parts)

    def predict(self, rows: Sequence[Row]) -> Tensor:
        """Predictions [len(rows), C, H, W]; Forge makes more than one model call where memory asks for it."""
        wanted: dict[Entry, dict[Half, int]] = {}
        for place, row in enumerate(rows):
            wanted.setdefault((row.source, row.index), {})[row.half] = place
        result = self.x.new_zeros(len(rows), *self.x.shape[1:])
        for halves in dict.fromkeys(tuple(found) for found in wanted.values()):
            entries = [entry for entry, found in wanted.items() if tuple(found) == halves]
            strengths = {entry[0]: self.rows_of_run.table[wanted[entry][halves[0]]] for entry in entries}
            for together in self._together(entries):
                table = [strengths[source] for source, _ in together]
                predicted = dict(
                    zip(("cond", "uncond"), self._evaluate(together, halves, table), strict=True)
                )
                for number, entry in enumerate(together):
                    for half, place in wanted.get(entry, {}).items():
                        if half in halves:
                            result[place] = predicted[half][number]
        return result

    def compare_as(self, space: Literal["noise", "denoised"]) -> Callable[[Tensor], Tensor] | None:
        """Noise, up to the positive factor sigma; a flow model's velocity."""
        if space == "denoised":
            return None
        return lambda denoised: self.x.to(denoised.dtype) - denoised

    def _evaluate(
        self, entries: Sequence[Entry], halves: Sequence[Half], table: Sequence[Sequence[float]]
    ) -> tuple[Tensor, Tensor]:
        places = [image for _, image in entries]
        cond = self._joined(entries, "cond") if "cond" in halves else []
        uncond = self._joined(entries, "uncond") if "uncond" in halves else None
        model = self.rows_of_run.routed(self.model, table)
        return webui.evaluate(model, cond, uncond, self.x[places], self.timestep[places], self.model_options)

    def _joined(self, entries: Sequence[Entry], half: Half) -> list[dict[str, Any]]:
        """The dicts of these entries, with a row for each."""
        sources = [self._parts(source, half) for source, _ in entries]
        images = [image for _, image in entries]
        return [self._dict([parts[number] for parts in sources], images) for number in range(len(sources[0]))]

    def _dict(self, parts: Parts, images: Sequence[int]) -> dict[str, Any]:
        joined = dict(parts[0])
        conditions = {}
        for name, first in parts[0]["model_conds"].items():
            if not isinstance(getattr(first, "cond", None), Tensor):
                conditions[name] = first
                continue
            rows = [_row(part["model_conds"][name].cond, b) for part, b in zip(parts, images, strict=True)]
            conditions[name] = type(first)(torch.cat(rows))
        joined["model_conds"] = conditions
        mask = joined.get("mask")
        if isinstance(mask, Tensor) and len(mask) > 1:
            joined["mask"] = torch.cat([_row(mask, image) for image in images])
        return joined

    def _together(self, entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
        """Entries of one evaluation: as many as Forge lets into memory, whole sources where hints need it."""
        if self._has_hints and self.images > 1:
            sources = dict.fromkeys(source for source, _ in entries)
            entries = [(source, image) for source in sources for image in range(self.images)]
            unit = self.images
        else:
            unit = 1
        one = self.model.memory_required([unit, *self.x.shape[1:]])
        most = max(int(webui.free_memory(self.x) / max(one, 1.0)), 1) * unit
        for start in range(0, len(entries), most):
            yield entries[start : start + most]

    @property
    def _has_hints(self) -> bool:
        """ControlNet repeats its hints over whole chunks of all images."""
        base = self.texts["base"]
        return any(part.get("control") is not None for part in (*base.cond, *(base.uncond or ())))

    def _texts(self, source: Source) -> Texts:
        return self.texts.get(source, self.texts["base"])

    def _parts(self, source: Source, half: Half) -> Parts:
        texts = self._texts(source)
        return texts.cond if half == "cond" else texts.uncond or ()


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
    return {name: part["model_conds"][name] for name in _TEXT if name in part["model_conds"]}


def _same_text(part: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    ours, theirs = _text_of(part), _text_of(other)
    return ours.keys() == theirs.keys() and all(
        torch.equal(ours[name].cond, theirs[name].cond.to(ours[name].cond)) for name in ours
    )


def _row(tensor: Tensor, image: int) -> Tensor:
    """The row of an image; Forge repeats rows where there are fewer than images (condition.py)."""
    place = image % len(tensor)
    return tensor[place : place + 1]
