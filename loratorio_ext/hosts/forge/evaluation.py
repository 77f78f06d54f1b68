"""One evaluation of Forge's denoiser, as the run needs it, and what of it shares a model call."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from itertools import zip_longest
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from loratorio_ext.hosts.forge import webui
from loratorio_ext.hosts.forge.backend import Backend
from loratorio_ext.hosts.forge.routed_model import CHUNKS, Chunk, ChunkRoutes, Chunks, RoutedModel
from loratorio_ext.hosts.forge.texts import TEXT, Parts, Texts, placed_texts, row_of
from loratorio_ext.method import RowMap
from loratorio_ext.networks.router import Places, Router, UnplacedError
from loratorio_ext.run import BRANCHES, Branch, Routes, Row, RowStrengths, Source


class Entry(NamedTuple):
    """Whose texts are evaluated together: the sources of both branches, of one image."""

    cond: Source
    uncond: Source
    image: int


Pass = tuple[int | None, bool]
"""The number of a conditional dict, if any, and whether the unconditional is evaluated with it."""

Together = Sequence[tuple[Pass, Sequence[Entry]]]
"""Passes that Forge evaluates at once, each with its entries; all have the same images in the same order."""


class ForgeEvaluation:
    """What a pre-CFG function is given (see ``run.Evaluation``).

    Predictions are denoised latents, whatever the sampler, without the one frame that a still picture has in
    a model of videos. Every conditional dict (an AND sub-prompt, or one that an extension has given a mask or
    an area) has a row for each image: row r is dict r // B of image r % B. Dicts of the unconditional branch
    are evaluated together, since Forge takes their mean.

    Attributes:
        index: number of the evaluation in this sampling pass.
        total: how many evaluations the sampler announced.
        sigma: of the first image.
        rows: image and AND weight of each conditional row.
        texts: conditions by source; a source that is not in it has the base's.
        guided: whether there is an unconditional prediction.
        given: None: Forge has predicted nothing yet.
        noise_scale: 1/σ, since x = x0 + σ·ε; the same for a flow model, with its velocity as ε.
    """

    def __init__(
        self,
        evaluation: tuple[Any, ...],
        texts: Mapping[Source, Texts],
        router: Router,
        routes: Routes,
        index: int,
        total: int,
        *,
        backend: Backend,
    ) -> None:
        """Read one evaluation.

        Args:
            evaluation: (model, cond, uncond, x, timestep, model_options) of a pre-CFG function.
            texts: conditions by source, as far as they act at this sigma; a source that is not in it has the
                base's.
            router: gives rows their networks.
            routes: of the run.
            index: see the attribute.
            total: see the attribute.
            backend: of this Forge.
        """
        self._backend = backend
        self._model, _, _, self._x, self._timestep, self._options = evaluation
        self._router, self._routes = router, routes
        base = texts["base"]
        self._parts = base["cond"] or ()
        images = range(len(self._x))
        weights = [float(part.get("strength", 1.0)) for part in self._parts]
        self.index = index
        self.total = total
        self.sigma = self._timestep[0]
        self.rows = RowMap(
            tuple(image for _ in weights for image in images), tuple(one for one in weights for _ in images)
        )
        self.texts = dict(texts)
        self.guided = base["uncond"] is not None
        self.given = None
        self.noise_scale = 1.0 / self.sigma
        # ControlNets; they repeat their hints over whole chunks of all images.
        every = (*self._parts, *(base["uncond"] or ()))
        self._controls = [part["control"] for part in every if part.get("control") is not None]

    def call_group(self, row: Row) -> Hashable:
        """Texts of different length never share a call."""
        texts = self.texts.get(row.source, self.texts["base"])
        parts = (*(texts["cond"] or ()), *(texts["uncond"] or ()))
        return tuple(_length(part) for part in parts)

    def predict(
        self, rows: Sequence[Row], strengths: Sequence[RowStrengths], places: Places | None
    ) -> tuple[Tensor, int]:
        """(predictions [len(rows), C, H, W], model calls); Forge makes several where memory requires it."""
        if places is not None:
            if self._backend.calls_rows_alone():
                raise UnplacedError("pictures for reference are beside it")
            self.texts["placed"] = placed_texts(self.texts, self._routes, self.rows)
        of_source = {row.source: one for row, one in zip(rows, strengths, strict=True)}
        result, calls = self._x.new_zeros(len(rows), *self._x.shape[1:]), 0
        passes = self._passes(rows)
        for together in self._evaluations(passes):
            routes = ChunkRoutes(places, {}, {})
            chunks = [(number, branch) for number in range(len(together)) for branch in BRANCHES]
            for number, branch in chunks:
                one, entries = together[number]
                found = [passes[one].get(entry, {}).get(branch) for entry in entries]
                routes.rows[number, branch] = found
                routes.strengths[number, branch] = [
                    of_source.get(getattr(entry, branch), ()) if row is None else strengths[row]
                    for entry, row in zip(entries, found, strict=True)
                ]
            model = RoutedModel(self._model, self._router, routes, self._controls)
            predicted = self._evaluate(model, together)
            calls += model.calls
            for chunk in chunks:
                for index, row in enumerate(routes.rows[chunk]):
                    if row is not None:
                        result[row] = predicted[chunk][index]
        return without_frames(result), calls

    def combined(self, cond: Tensor) -> Tensor:
        """Conditional rows [R, C, H, W] combined to one per image, shaped like x, weighted as in Forge.

        Source: calc_cond_uncond_batch (backend/sampling/sampling_function.py).
        """
        cond = self.like_x(cond)
        if len(self._parts) == 1:
            return cond
        total, weights = torch.zeros_like(self._x), torch.full_like(self._x, 1e-37)
        for part, rows in zip(self._parts, cond.split(len(self._x)), strict=True):
            place = self._backend.place_of(part, self._x, self._timestep)
            if place is not None:
                (height, width, y, x), weight = place
                cut = (slice(None), slice(None), slice(y, y + height), slice(x, x + width))
                total[cut] += rows[cut] * weight
                weights[cut] += weight
        return total / weights

    def like_x(self, predictions: Tensor) -> Tensor:
        """[rows, C, H, W] with the dimensions that x has."""
        return predictions.reshape(-1, *self._x.shape[1:])

    def compare_as(self, space: Literal["noise", "denoised"]) -> Callable[[Tensor], Tensor] | None:
        """Noise, up to the positive factor sigma; a flow model's velocity."""
        if space == "denoised":
            return None
        x = without_frames(self._x).repeat(len(self._parts), 1, 1, 1)
        return lambda denoised: x.to(denoised.dtype) - denoised

    def release(self) -> None:
        """Drop the networks' stacked copies."""
        self._router.release()

    def _passes(self, rows: Sequence[Row]) -> dict[Pass, dict[Entry, dict[Branch, int]]]:
        """Which rows Forge evaluates together, with their indices: uncond beside a cond."""
        found: dict[Entry, tuple[dict[int, int], list[int]]] = {}
        # The base's unconditional beside the networks' conditional: one call, as in a plain step.
        beside = {"placed"} == {row.source for row in rows if row.branch == "cond"}
        for place, row in enumerate(rows):
            part, image = divmod(row.index, len(self._x))
            source: Source = "placed" if beside and row.source == "base" else row.source
            uncond: Source = "base" if beside and Row("placed", "uncond", image) not in rows else source
            conds, unconds = found.setdefault(Entry(source, uncond, image), ({}, []))
            if row.branch == "cond":
                conds[part] = place
            else:
                unconds.append(place)
        passes: dict[Pass, dict[Entry, dict[Branch, int]]] = {}
        for entry, (conds, unconds) in found.items():
            for number, (part, place) in enumerate(conds.items()):
                with_uncond = (
                    bool(unconds)
                    and number == 0
                    and self._may_join(
                        (self._parts_of(entry.cond, "cond")[part], *self._parts_of(entry.uncond, "uncond"))
                    )
                )
                places: dict[Branch, int] = {"cond": place}
                passes.setdefault((part, with_uncond), {})[entry] = places
                if with_uncond:
                    places["uncond"] = unconds[0]
            if unconds and not any("uncond" in one.get(entry, {}) for one in passes.values()):
                passes.setdefault((None, True), {})[entry] = {"uncond": unconds[0]}
        return passes

    def _may_join(self, parts: Sequence[Mapping[str, Any]]) -> bool:
        """Whether Forge may put these dicts into one call.

        It repeats tokens where that gives their texts one length (condition.py), which leaves cross-attention
        as it is, but not a transformer in which picture and text are one sequence.
        """
        return hasattr(self._model.diffusion_model, "input_blocks") or len(set(map(_length, parts))) == 1

    def _parts_of(self, source: Source, branch: Branch) -> Parts:
        return self.texts.get(source, self.texts["base"])[branch] or ()

    def _evaluations(self, passes: Mapping[Pass, Mapping[Entry, object]]) -> Collection[Together]:
        """What Forge evaluates at once.

        Several passes in chunks of one row for each image: Forge joins these to one call where memory allows,
        as it does with AND sub-prompts. Else each pass by itself, in chunks as wide as fit into memory: where
        extensions need whole sources or lay calls out, or where a dict alone is not the prediction.
        """
        controls, images, options = self._controls, len(self._x), self._options
        alone = webui.looks_across_rows(options) or any(map(webui.weighs_images, controls))
        whole = alone or (images > 1 and (bool(controls) or webui.looks_at_images(options)))
        unit = images if whole else 1
        one = self._model.memory_required([unit, *self._x.shape[1:]])
        fitting = max(int(self._backend.free_memory(self._x) / max(one, 1.0)), 1)
        rows_alone = self._backend.calls_rows_alone()
        most = unit if alone or rows_alone else fitting * unit
        joins = not (alone or rows_alone or webui.WRAPPER in options) and self._dicts_join()
        found: dict[Hashable, list[tuple[Pass, Sequence[Entry]]]] = {}
        for number, wanted in passes.items():
            entries = list(wanted)
            if whole:
                sources = dict.fromkeys(entry[:2] for entry in entries)
                entries = [Entry(*source, image) for source in sources for image in range(images)]
            if joins and len(passes) > 1:
                for chunk in _image_by_image(entries):
                    found.setdefault(tuple(entry.image for entry in chunk), []).append((number, chunk))
            else:
                for start in range(0, len(entries), most):
                    found[number, start] = [(number, entries[start : start + most])]
        return found.values()

    def _dicts_join(self) -> bool:
        """Whether all dicts may share a call, and what it predicts for each is the prediction everywhere."""
        parts = [part for texts in self.texts.values() for some in texts.values() for part in some or ()]
        limits = {"area", "mask", "timestep_start", "timestep_end"}
        one_uncond = len(self._parts_of("base", "uncond")) < 2
        return one_uncond and all(map(limits.isdisjoint, parts)) and self._may_join(parts)

    def _evaluate(self, model: RoutedModel, together: Together) -> Mapping[Chunk, Tensor]:
        """Denoised predictions of these passes, [rows, C, H, W] for each branch asked for."""
        dicts: dict[Branch, list[dict[str, Any]]] = {"cond": [], "uncond": []}
        unconds = range(len(self._parts_of("base", "uncond")))
        for place, ((part, with_uncond), entries) in enumerate(together):
            if part is not None:
                dicts["cond"].append({**self._joined(entries, "cond", part), "strength": 1.0})
            if with_uncond:
                dicts["uncond"] += [self._joined(entries, "uncond", number) for number in unconds]
            for branch in BRANCHES if len(together) > 1 else ():
                for one in dicts[branch]:  # those of the passes before have theirs
                    one["model_conds"].setdefault(CHUNKS, Chunks([(place, branch)]))
        # Row by row: an index that is a list would be copied to the device, and waited for.
        images = [entry.image for entry in together[0][1]]
        x = torch.stack([self._x[image] for image in images])
        sigma = torch.stack([self._timestep[image] for image in images])
        for control in self._controls:
            webui.forget_features(control)
        try:
            predicted = self._backend.evaluate(model, dicts["cond"], dicts["uncond"], x, sigma, self._options)
        finally:  # other extensions' calls have other rows
            for control in self._controls:
                webui.forget_features(control)
        # Forge adds up the dicts of a branch, so that of several passes the calls themselves are read.
        return model.predicted or {(0, branch): one for branch, one in zip(BRANCHES, predicted, strict=True)}

    def _joined(self, entries: Sequence[Entry], branch: Branch, number: int) -> dict[str, Any]:
        """The dicts with this number, as one with a row for each entry."""
        parts = [self._parts_of(getattr(entry, branch), branch)[number] for entry in entries]
        images = [entry.image for entry in entries]
        joined, conditions = dict(parts[0]), {}
        for name, first in parts[0]["model_conds"].items():
            if not isinstance(getattr(first, "cond", None), Tensor):
                conditions[name] = first
                continue
            rows = [row_of(part["model_conds"][name].cond, b) for part, b in zip(parts, images, strict=True)]
            conditions[name] = type(first)(torch.cat(rows))
        joined["model_conds"] = conditions
        mask = joined.get("mask")
        if isinstance(mask, Tensor) and len(mask) > 1:
            joined["mask"] = torch.cat([row_of(mask, image) for image in images])
        return joined


def without_frames(latents: Tensor) -> Tensor:
    """[rows, C, 1, H, W] as [rows, C, H, W]."""
    return latents.squeeze(2) if latents.dim() == 5 else latents


def _length(part: Mapping[str, Any]) -> tuple[int, ...]:
    """How many tokens a dict's text has, and how wide they are."""
    return tuple(part["model_conds"][TEXT[0]].cond.shape[1:])


def _image_by_image(entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Entries in chunks that have no image twice, in the images' order."""
    of_images: dict[int, list[Entry]] = {}
    for entry in sorted(entries, key=lambda entry: entry.image):
        of_images.setdefault(entry.image, []).append(entry)
    for chunk in zip_longest(*of_images.values()):
        yield [entry for entry in chunk if entry is not None]
