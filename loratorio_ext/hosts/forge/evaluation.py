"""One evaluation of Forge's denoiser, as the run asks for it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from loratorio_ext.hosts.forge import webui
from loratorio_ext.hosts.forge.model_calls import RowsOfRun
from loratorio_ext.hosts.forge.texts import TEXT, Parts, Texts
from loratorio_ext.method import Subprompts
from loratorio_ext.run import Half, Row, Source

Entry = tuple[Source, int]
"""A source and an image."""

Pass = tuple[int | None, bool]
"""The number of a conditional dict, if any, and whether the unconditional goes with it."""


@dataclass(frozen=True)
class ForgeEvaluation:
    """What a pre-CFG function is given (see ``run.Evaluation``).

    Predictions are denoised latents, whatever the sampler. Every conditional dict (an AND sub-prompt, or one
    that an extension has given a mask or an area) has a row for each image: row r is dict r // B of image
    r % B. Dicts of the unconditional side are evaluated as a whole, as Forge takes their mean.

    Attributes:
        model: Forge's KModel.
        rows_of_run: knows the strengths of the rows that are asked for, and gives them to the model.
        x: noisy latents [B, C, H, W].
        timestep: their sigmas [B].
        model_options: the UNet patcher's.
        texts: conditions by source, as far as they act at this sigma; the base's for sources that are not in
            it.
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
    def subprompts(self) -> Subprompts | None:
        """The image and the weight of each conditional row; None where there is one for each image."""
        parts = self.texts["base"].cond
        if len(parts) == 1:
            return None
        weights = [float(part.get("strength", 1.0)) for part in parts]
        return Subprompts(
            tuple(image for _ in parts for image in range(self.images)),
            tuple(weight for weight in weights for _ in range(self.images)),
        )

    @property
    def images(self) -> int:
        """Number of images B."""
        return len(self.x)

    @property
    def cond_rows(self) -> int:
        """One for each conditional dict and image."""
        return len(self.x) * len(self.texts["base"].cond)

    @property
    def guided(self) -> bool:
        """Whether there is an unconditional prediction."""
        return self.texts["base"].uncond is not None

    @property
    def base_calls(self) -> int:
        """Forge has predicted nothing yet."""
        return 0

    @property
    def noise_scale(self) -> Tensor:
        """1/σ, since x = x0 + σ·ε; for a flow model likewise, of its velocity."""
        return 1.0 / self.sigma

    def call_group(self, row: Row) -> Hashable:
        """Texts of different length never share a call."""
        texts = self._texts(row.source)
        parts = (*texts.cond, *(texts.uncond or ()))
        return tuple(tuple(part["model_conds"][TEXT[0]].cond.shape[1:]) for part in parts)

    def predict(self, rows: Sequence[Row]) -> Tensor:
        """Predictions [len(rows), C, H, W]; Forge makes more than one model call where memory asks for it."""
        result = self.x.new_zeros(len(rows), *self.x.shape[1:])
        strengths = {row.source: self.rows_of_run.table[place] for place, row in enumerate(rows)}
        for (part, with_uncond), wanted in self._passes(rows).items():
            for together in self._together(list(wanted)):
                table = [strengths[source] for source, _ in together]
                cond, uncond = self._evaluate(together, part, with_uncond, table)
                for number, entry in enumerate(together):
                    for half, place in wanted.get(entry, {}).items():
                        result[place] = (cond if half == "cond" else uncond)[number]
        return result

    def combined(self, cond: Tensor) -> Tensor:
        """Conditional rows [R, C, H, W] to one for each image, [B, C, H, W], weighted as Forge does it.

        Source: calc_cond_uncond_batch (backend/sampling/sampling_function.py).
        """
        parts = self.texts["base"].cond
        if len(parts) == 1:
            return cond
        total, weights = torch.zeros_like(self.x), torch.full_like(self.x, 1e-37)
        for part, rows in zip(parts, cond.split(self.images), strict=True):
            place = webui.place_of(part, self.x, self.timestep)
            if place is not None:
                (height, width, y, x), weight = place
                cut = (..., slice(y, y + height), slice(x, x + width))
                total[cut] += rows[cut] * weight
                weights[cut] += weight
        return total / weights

    def compare_as(self, space: Literal["noise", "denoised"]) -> Callable[[Tensor], Tensor] | None:
        """Noise, up to the positive factor sigma; a flow model's velocity."""
        if space == "denoised":
            return None
        x = self.x.repeat(len(self.texts["base"].cond), 1, 1, 1)
        return lambda denoised: x.to(denoised.dtype) - denoised

    def _passes(self, rows: Sequence[Row]) -> dict[Pass, dict[Entry, dict[Half, int]]]:
        """Which rows Forge evaluates together, with their places: uncond beside a cond."""
        found: dict[Entry, tuple[dict[int, int], list[int]]] = {}
        for place, row in enumerate(rows):
            part, image = divmod(row.index, self.images)
            conds, unconds = found.setdefault((row.source, image), ({}, []))
            if row.half == "cond":
                conds[part] = place
            else:
                unconds.append(place)
        passes: dict[Pass, dict[Entry, dict[Half, int]]] = {}
        for entry, (conds, unconds) in found.items():
            for number, (part, place) in enumerate(conds.items()):
                with_uncond = bool(unconds) and number == 0
                places: dict[Half, int] = {"cond": place}
                passes.setdefault((part, with_uncond), {})[entry] = places
                if with_uncond:
                    places["uncond"] = unconds[0]
            if not conds:
                passes.setdefault((None, True), {})[entry] = {"uncond": unconds[0]}
        return passes

    def _evaluate(
        self, entries: Sequence[Entry], part: int | None, with_uncond: bool, table: Sequence[Sequence[float]]
    ) -> tuple[Tensor, Tensor]:
        places = [image for _, image in entries]
        cond = [] if part is None else [{**self._joined(entries, "cond", part), "strength": 1.0}]
        uncond: list[dict[str, Any]] | None = None
        if with_uncond:
            every = range(len(self._parts("base", "uncond")))
            uncond = [self._joined(entries, "uncond", number) for number in every]
        model = self.rows_of_run.routed(self.model, table)
        for control in self._controls:
            webui.forget_features(control)
        try:
            return webui.evaluate(
                model, cond, uncond, self.x[places], self.timestep[places], self.model_options
            )
        finally:  # calls of others have other rows
            for control in self._controls:
                webui.forget_features(control)

    def _joined(self, entries: Sequence[Entry], half: Half, number: int) -> dict[str, Any]:
        """The dicts with this number, as one with a row for each entry."""
        parts = [self._parts(source, half)[number] for source, _ in entries]
        return self._dict(parts, [image for _, image in entries])

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
        """Entries of one evaluation: what fits into memory, and whole sources where others need them."""
        controls = self._controls
        alone = webui.looks_across_rows(self.model_options) or any(map(webui.weighs_images, controls))
        unit, for_images = 1, bool(controls) or webui.looks_at_images(self.model_options)
        if alone or (for_images and self.images > 1):
            sources = dict.fromkeys(source for source, _ in entries)
            entries = [(source, image) for source in sources for image in range(self.images)]
            unit = self.images
        one = self.model.memory_required([unit, *self.x.shape[1:]])
        most = unit if alone else max(int(webui.free_memory(self.x) / max(one, 1.0)), 1) * unit
        for start in range(0, len(entries), most):
            yield entries[start : start + most]

    @property
    def _controls(self) -> Sequence[Any]:
        """ControlNets; they repeat their hints over whole chunks of all images."""
        base = self.texts["base"]
        every = (part.get("control") for part in (*base.cond, *(base.uncond or ())))
        return [control for control in every if control is not None]

    def _texts(self, source: Source) -> Texts:
        return self.texts.get(source, self.texts["base"])

    def _parts(self, source: Source, half: Half) -> Parts:
        return self._texts(source).of(half)


def _row(tensor: Tensor, image: int) -> Tensor:
    """The row of an image; Forge repeats rows where there are fewer than images (condition.py)."""
    place = image % len(tensor)
    return tensor[place : place + 1]
