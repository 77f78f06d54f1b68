"""One evaluation of Forge's denoiser, as the run needs it, and its model calls with networks for each row."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from loratorio_ext.hosts.forge import webui
from loratorio_ext.hosts.forge.backend import Backend
from loratorio_ext.hosts.forge.texts import TEXT, Texts
from loratorio_ext.method import RowMap
from loratorio_ext.networks.router import Places, Router, UnplacedError
from loratorio_ext.run import BRANCHES, Branch, Row, RowStrengths, Source


class Entry(NamedTuple):
    """Whose texts are evaluated together: the sources of both branches, of one image."""

    cond: Source
    uncond: Source
    image: int


Pass = tuple[int | None, bool]
"""The number of a conditional dict, if any, and whether the unconditional is evaluated with it."""


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
        guided: whether there is an unconditional prediction.
        given: None: Forge has predicted nothing yet.
        noise_scale: 1/σ, since x = x0 + σ·ε; the same for a flow model, with its velocity as ε.
    """

    def __init__(
        self,
        evaluation: tuple[Any, ...],
        texts: Mapping[Source, Texts],
        router: Router,
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
            index: see the attribute.
            total: see the attribute.
            backend: of this Forge.
        """
        self._backend = backend
        self._model, _, _, self._x, self._timestep, self._options = evaluation
        self._texts = texts
        self._router = router
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
        self.guided = base["uncond"] is not None
        self.given = None
        self.noise_scale = 1.0 / self.sigma
        # ControlNets; they repeat their hints over whole chunks of all images.
        every = (*self._parts, *(base["uncond"] or ()))
        self._controls = [part["control"] for part in every if part.get("control") is not None]

    def call_group(self, row: Row) -> Hashable:
        """Texts of different length never share a call."""
        texts = self._texts.get(row.source, self._texts["base"])
        parts = (*(texts["cond"] or ()), *(texts["uncond"] or ()))
        return tuple(_length(part) for part in parts)

    def predict(
        self, rows: Sequence[Row], strengths: Sequence[RowStrengths], places: Places | None
    ) -> tuple[Tensor, int]:
        """(predictions [len(rows), C, H, W], model calls); Forge makes several where memory requires it."""
        of_source = {row.source: one for row, one in zip(rows, strengths, strict=True)}
        result, calls = self._x.new_zeros(len(rows), *self._x.shape[1:]), 0
        for (part, with_uncond), wanted in self._passes(rows).items():
            for together in self._together(list(wanted)):
                routes = ChunkRoutes(places, {}, {})
                for branch in BRANCHES:
                    found = [wanted.get(entry, {}).get(branch) for entry in together]
                    routes.rows[branch] = found
                    routes.strengths[branch] = [
                        of_source.get(getattr(entry, branch), ()) if row is None else strengths[row]
                        for entry, row in zip(together, found, strict=True)
                    ]
                model = RoutedModel(self._model, self._router, routes)
                predicted = self._evaluate(model, together, part, with_uncond)
                calls += model.calls
                for number, entry in enumerate(together):
                    for branch, place in wanted.get(entry, {}).items():
                        result[place] = predicted[branch][number]
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
                with_uncond = bool(unconds) and number == 0 and self._may_join(entry, part)
                places: dict[Branch, int] = {"cond": place}
                passes.setdefault((part, with_uncond), {})[entry] = places
                if with_uncond:
                    places["uncond"] = unconds[0]
            if unconds and not any("uncond" in one.get(entry, {}) for one in passes.values()):
                passes.setdefault((None, True), {})[entry] = {"uncond": unconds[0]}
        return passes

    def _may_join(self, entry: Entry, part: int) -> bool:
        """Whether Forge may put cond and uncond into one call.

        It repeats tokens where that gives both texts one length (condition.py), which leaves cross-attention
        as it is, but not a transformer in which picture and text are one sequence.
        """
        if hasattr(self._model.diffusion_model, "input_blocks"):
            return True
        base = self._texts["base"]
        cond = (self._texts.get(entry.cond, base)["cond"] or ())[part]
        unconds = self._texts.get(entry.uncond, base)["uncond"] or ()
        return {_length(one) for one in unconds} == {_length(cond)}

    def _together(self, entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
        """Entries of one evaluation: what fits into memory, and whole sources where extensions need them."""
        controls, images = self._controls, len(self._x)
        alone = webui.looks_across_rows(self._options) or any(map(webui.weighs_images, controls))
        unit, for_images = 1, bool(controls) or webui.looks_at_images(self._options)
        if alone or (for_images and images > 1):
            sources = dict.fromkeys(entry[:2] for entry in entries)
            entries = [Entry(*source, image) for source in sources for image in range(images)]
            unit = images
        one = self._model.memory_required([unit, *self._x.shape[1:]])
        fitting = max(int(self._backend.free_memory(self._x) / max(one, 1.0)), 1)
        most = unit if alone or self._backend.calls_rows_alone() else fitting * unit
        for start in range(0, len(entries), most):
            yield entries[start : start + most]

    def _evaluate(
        self, model: RoutedModel, entries: Sequence[Entry], part: int | None, with_uncond: bool
    ) -> dict[Branch, Tensor]:
        """Denoised predictions of these entries, [len(entries), C, H, W] for each branch asked for."""
        cond = [] if part is None else [{**self._joined(entries, "cond", part), "strength": 1.0}]
        unconds = range(len(self._texts["base"]["uncond"] or ()))
        uncond = [self._joined(entries, "uncond", number) for number in unconds] if with_uncond else None
        # Row by row: an index that is a list would be copied to the device, and waited for.
        x = torch.stack([self._x[entry.image] for entry in entries])
        sigma = torch.stack([self._timestep[entry.image] for entry in entries])
        for control in self._controls:
            webui.forget_features(control)
        try:
            predicted = self._backend.evaluate(model, cond, uncond, x, sigma, self._options)
        finally:  # other extensions' calls have other rows
            for control in self._controls:
                webui.forget_features(control)
        return dict(zip(BRANCHES, predicted, strict=True))

    def _joined(self, entries: Sequence[Entry], branch: Branch, number: int) -> dict[str, Any]:
        """The dicts with this number, as one with a row for each entry."""
        base = self._texts["base"]
        parts = [(self._texts.get(getattr(entry, branch), base)[branch] or ())[number] for entry in entries]
        images = [entry.image for entry in entries]
        joined, conditions = dict(parts[0]), {}
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


@dataclass(frozen=True)
class ChunkRoutes:
    """How the rows of a chunk get their networks, by branch.

    Attributes:
        places: the maps of all rows of ``ForgeEvaluation.predict``; None: no row places networks.
        rows: the number of each row there; None: nobody asked for it.
        strengths: of each row.
    """

    places: Places | None
    rows: dict[Branch, Sequence[int | None]]
    strengths: dict[Branch, Sequence[RowStrengths]]


class RoutedModel:
    """Stands in for Forge's KModel in one evaluation: every model call goes through the router.

    Forge joins the conditions of an evaluation into calls of whole chunks, and every chunk has the same rows
    in the same order (calc_cond_uncond_batch); so does every tile where an extension cuts the latent up.

    Attributes:
        calls: model calls so far.
    """

    def __init__(self, model: Any, router: Router, routes: ChunkRoutes) -> None:
        """``routes``: of the rows of one chunk."""
        self.calls = 0
        self._model = model
        self._router = router
        self._routes = routes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def apply_model(self, x: Tensor, t: Tensor, **conditions: Any) -> Tensor:
        """Denoised predictions [chunks × rows, C, H, W].

        Raises:
            ValueError: another extension has made a call with a different number of rows.
            UnplacedError: it has cut the latent up, or has calls of chunks that are not known.
        """
        routes, rows = self._routes, len(self._routes.rows["cond"])
        chunks, surplus = divmod(len(x), rows)
        if surplus:
            raise ValueError(
                f"a model call has {len(x)} rows, which is not a multiple of the {rows} that the evaluation "
                "has; another extension has changed them"
            )
        # Forge's numbers for the branches are their places in BRANCHES.
        branches = [BRANCHES[one] for one in conditions["transformer_options"]["cond_or_uncond"]]
        if len(branches) != chunks or (routes.places is not None and not routes.places.suit(x)):
            if routes.places is not None:
                raise UnplacedError("another extension has cut the picture up, or has added model calls")
            if routes.strengths["cond"] != routes.strengths["uncond"]:
                raise ValueError(
                    "another extension has cut the picture up, or has added model calls, so networks cannot "
                    "act on one side of the guidance"
                )
            branches = ["cond"] * chunks
        table = [strengths for branch in branches for strengths in routes.strengths[branch]]
        places = routes.places
        if places is not None:
            places = places.of([row for branch in branches for row in routes.rows[branch]])
        with self._router.routing(table, places):
            denoised: Tensor = self._model.apply_model(x, t, **conditions)
        self.calls += 1
        return denoised


def without_frames(latents: Tensor) -> Tensor:
    """[rows, C, 1, H, W] as [rows, C, H, W]."""
    return latents.squeeze(2) if latents.dim() == 5 else latents


def _length(part: Mapping[str, Any]) -> tuple[int, ...]:
    """How many tokens a dict's text has, and how wide they are."""
    return tuple(part["model_conds"][TEXT[0]].cond.shape[1:])


def _row(tensor: Tensor, image: int) -> Tensor:
    """The row of an image; Forge repeats rows where there are fewer than images (condition.py)."""
    place = image % len(tensor)
    return tensor[place : place + 1]
