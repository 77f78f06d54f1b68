"""One model call of the WebUI's CFG denoiser, as the run needs it."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from loratorio_ext.hosts.a1111 import webui
from loratorio_ext.hosts.a1111.routed_call import RoutedCall
from loratorio_ext.hosts.a1111.tiles import Tiles, is_mixed
from loratorio_ext.hosts.webuis.conditions import Conditions
from loratorio_ext.method import RowMap
from loratorio_ext.networks.router import Places, Router
from loratorio_ext.run import Branch, GivenBase, Routes, Row, RowStrengths, Source
from loratorio_ext.run.routes import mixed_text

Texts = dict[Branch, Any]
"""Conditions of the rows of one model call, by branch: [rows, tokens, width], or dicts of tensors (SDXL)."""


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
        own, marked = (one["crossattn"] if isinstance(one, dict) else one for one in (text, given))
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
        return type(text)({**text, "crossattn": tokens}) if isinstance(text, dict) else tokens


@dataclass(frozen=True, eq=False)
class DenoiserEvaluation:
    """What CFGDenoiser.forward shows of one model call (see ``run.Evaluation``).

    The WebUI has already made the base's predictions. Predictions are in the sampler's space: denoised
    latents in k-diffusion's samplers, noise in those that count timesteps.

    Attributes:
        index: number of the model call in this sampling pass.
        total: how many calls the sampler announced.
        sigma: sigma or timestep of the first row.
        rows: image and AND weight of each conditional row.
        guided: whether there are unconditional predictions at this step.
        given: the base's predictions, or those with networks placed; views of ``predicted``.
        noise_scale: 1 where noise is predicted; 1/σ where the denoised latent is, since x = x0 + σ·ε.
        denoiser: the CFGDenoiser.
        params: CFGDenoiserParams after all callbacks; x, sigma and image_cond hold a row for each conditional
            row and then one for each image.
        predicted: CFGDenoisedParams.x, rows in the same order.
        texts: conditions by source; a source that is not in it has the base's.
        router: gives rows their networks; None: the WebUI has merged them.
        tiles: of the pass; None where the router is.
    """

    index: int
    total: int
    sigma: Tensor
    rows: RowMap
    guided: bool
    given: GivenBase | None
    noise_scale: float | Tensor
    denoiser: Any
    params: Any
    predicted: Tensor
    texts: Mapping[Source, Texts]
    router: Router | None
    tiles: Tiles | None

    @classmethod
    def of(
        cls,
        params: Any,
        predicted: Tensor,
        conditions: Mapping[Source, Conditions],
        router: Router | None,
        marks: TokenMarks,
        routes: Routes | None = None,
        own_call: RoutedCall | None = None,
        tiles: Tiles | None = None,
    ) -> DenoiserEvaluation:
        """The evaluation of one call.

        Args:
            params: see the attribute.
            predicted: see the attribute.
            conditions: of the sources whose conditions are not the base's.
            router: see the attribute.
            marks: tokens that other extensions put in front.
            routes: of the run; None: no row places networks.
            own_call: the WebUI's own call, where it had networks for each row.
            tiles: see the attribute.
        """
        denoiser, step = params.denoiser, params.denoiser.step
        base = base_texts(params) if own_call is None else own_call.base
        rows, guided = rows_of(params)
        found = texts_of_sources(conditions, base, step, marks)
        if routes is not None:
            found["placed"] = placed_texts(found, routes, rows)
        texts = {source: _padded(one, denoiser) for source, one in found.items()}
        sigma = params.sigma[0]
        given = None
        if own_call is None or own_call.failure is None:
            is_placed = own_call is not None and own_call.is_placed
            of_call = texts["placed" if is_placed else "base"]
            calls = _calls_of_the_webui(of_call, rows, guided)
            parts = predicted[: rows.cond_rows], predicted[rows.cond_rows :]
            given = GivenBase(*parts, calls, is_placed=is_placed)
        return cls(
            index=int(step),
            total=total_of(denoiser),
            sigma=sigma,
            rows=rows,
            guided=guided,
            given=given,
            noise_scale=1.0 if webui.predicts_noise(denoiser) else 1.0 / sigma,
            denoiser=denoiser,
            params=params,
            predicted=predicted,
            texts=texts,
            router=router,
            tiles=tiles,
        )

    def call_group(self, row: Row) -> Hashable:
        """Rows share a call if their texts are equally long."""
        return int(self._text(row).shape[1])

    def predict(
        self, rows: Sequence[Row], strengths: Sequence[RowStrengths], places: Places | None
    ) -> tuple[Tensor, int]:
        """(predictions [len(rows), C, H, W] with each row's own networks; 1 call, more in tiles)."""
        if self.router is None or self.tiles is None:
            raise RuntimeError("the networks are merged, so rows have no strengths of their own")
        if not (self.tiles.found and is_mixed(strengths)):
            with self.tiles.watched(strengths), self.router.routing(strengths, places):
                predicted = self.predict_as_merged(rows)
            if not (self.tiles.found and is_mixed(strengths)):
                return predicted, 1
        single = []
        for number, (row, own) in enumerate(zip(rows, strengths, strict=True)):
            maps = None if places is None else places.of([number])
            single.append(self.predict([row], [own], maps)[0])
        return torch.cat(single), len(rows)

    def predict_as_merged(self, rows: Sequence[Row]) -> Tensor:
        """Predictions [len(rows), C, H, W] by the model as it is; rows differ only in texts and latents."""
        text = _joined([(self._text(row), row.index) for row in rows])
        # Row by row: an index that is a list would be copied to the device, and waited for.
        places = [row.index + (row.branch == "uncond") * self.rows.cond_rows for row in rows]
        x, sigma, image_cond = (
            torch.stack([tensor[place] for place in places])
            for tensor in (self.params.x, self.params.sigma, self.params.image_cond)
        )
        predicted: Tensor = self.denoiser.inner_model(x, sigma, cond=_condition(text, image_cond))
        # Where the WebUI calls cond and uncond separately, its rows are float32 even if the model's are half.
        return predicted.to(self.predicted.dtype)

    def compare_as(self, space: Literal["noise", "denoised"]) -> Callable[[Tensor], Tensor] | None:
        """Noise from denoised latents or the other way round, up to a positive factor."""
        x, sigma = self.params.x[: self.rows.cond_rows], self.params.sigma[: self.rows.cond_rows]
        predicts_noise = webui.predicts_noise(self.denoiser)
        if space == ("noise" if predicts_noise else "denoised"):
            return None
        if predicts_noise:
            return lambda noise: self.denoiser.get_pred_x0(x.to(noise.dtype), noise, sigma)
        return lambda denoised: x.to(denoised.dtype) - denoised

    def release(self) -> None:
        """Drop the networks' stacked copies."""
        if self.router is not None:
            self.router.release()

    def put(self, cond: Tensor, uncond: Tensor | None) -> None:
        """Write composed predictions where the WebUI combines them."""
        self.predicted[: self.rows.cond_rows].copy_(cond)
        if uncond is None:  # the WebUI filled these rows with every image's first conditional prediction
            uncond = torch.stack([cond[min(shares)] for shares in self.rows.shares])
        self.predicted[self.rows.cond_rows :].copy_(uncond)

    def _text(self, row: Row) -> Any:
        return self.texts.get(row.source, self.texts["base"])[row.branch]


def total_of(denoiser: Any) -> int:
    """How many model calls a sampler has announced."""
    return max(int(denoiser.total_steps), 1)


def rows_of(params: Any) -> tuple[RowMap, bool]:
    """(image and AND weight of each conditional row of a call, whether it has unconditional rows)."""
    denoiser = params.denoiser
    conds_list, _ = webui.conds_at(denoiser.sampler.sampler_extra_args["cond"], denoiser.step)
    owners = {row: (image, weight) for image, found in enumerate(conds_list) for row, weight in found}
    of_rows = [owners[row] for row in sorted(owners)]
    rows = RowMap(tuple(image for image, _ in of_rows), tuple(float(weight) for _, weight in of_rows))
    return rows, not webui.skips_uncond(denoiser, params.sigma)


def base_texts(params: Any) -> Texts:
    """The texts of the WebUI's own call."""
    return {"cond": params.text_cond, "uncond": params.text_uncond}


def texts_of(conditions: Conditions, base: Texts, step: int, marks: TokenMarks) -> Texts:
    """Conditions at a call, with the marks that the base's texts have."""
    own: Texts = {
        "cond": webui.conds_at(conditions.c, step)[1],
        "uncond": webui.unconds_at(conditions.uc, step),
    }
    return {branch: marks.put(text, base[branch], branch) for branch, text in own.items()}


def texts_of_sources(
    conditions: Mapping[Source, Conditions], base: Texts, step: int, marks: TokenMarks
) -> dict[Source, Texts]:
    """The texts of a call by source; a source that is not among them has the base's."""
    others = {source: texts_of(one, base, step, marks) for source, one in conditions.items()}
    return {"base": base, **others}


def placed_texts(texts: Mapping[Source, Texts], routes: Routes, rows: RowMap) -> Texts:
    """The texts of rows that place networks, for the evaluation that has begun."""
    own = [source for source in texts if isinstance(source, int)]

    def of(branch: Branch, count: int) -> Any:
        shares = [routes.text_of(Row("placed", branch, index), rows, own) for index in range(count)]
        parts = {source: texts.get(source, texts["base"])[branch] for one in shares for source, _ in one}
        if len(parts) == 1:
            return next(iter(parts.values()))

        def mixed(of_sources: Mapping[Source, Tensor]) -> Tensor:
            return torch.stack(
                [
                    mixed_text([(of_sources[source][row], share) for source, share in one])
                    for row, one in enumerate(shares)
                ]
            )

        like = texts["base"][branch]
        if not isinstance(like, dict):
            return mixed(parts)
        entries = {name: mixed({source: one[name] for source, one in parts.items()}) for name in like}
        return type(like)(entries)  # the WebUI's own class, which has a shape

    return {"cond": of("cond", rows.cond_rows), "uncond": of("uncond", rows.images)}


def _calls_of_the_webui(base: Texts, rows: RowMap, guided: bool) -> int:
    """How many model calls CFGDenoiser.forward has made for all of its rows."""
    batches = webui.batches_cond_and_uncond()
    if not guided or base["cond"].shape[1] == base["uncond"].shape[1]:
        return 1 if batches else math.ceil((rows.cond_rows + rows.images * guided) / rows.images)
    return math.ceil(rows.cond_rows / (rows.images * (1 + batches))) + 1


def _condition(text: Any, image_cond: Tensor) -> dict[str, Any]:
    """The model's ``cond`` argument (CFGDenoiser.forward, make_condition_dict)."""
    if webui.conditioning_key() == "crossattn-adm":
        return {"c_crossattn": [text], "c_adm": image_cond}
    if isinstance(text, dict):
        return {**text, "c_concat": [image_cond]}
    return {"c_crossattn": [text], "c_concat": [image_cond]}


def _padded(texts: Texts, denoiser: Any) -> Texts:
    """Cond and uncond padded to the same length where the user's options say so (CFGDenoiser.forward)."""
    method = webui.padding()
    if method is None or texts["cond"].shape[1] == texts["uncond"].shape[1]:
        return texts
    # The WebUI's methods write into dicts.
    copies = [type(part)(part) if isinstance(part, dict) else part for part in texts.values()]
    cond, uncond = getattr(denoiser, method)(*copies)
    return {"cond": cond, "uncond": uncond}


def _joined(rows: Sequence[tuple[Any, int]]) -> Any:
    """One text of the given rows of texts that are equally long."""
    first, _ = rows[0]
    if isinstance(first, dict):
        parts = {name: torch.cat([text[name][row : row + 1] for text, row in rows]) for name in first}
        return type(first)(parts)  # the WebUI's own class, which has a shape
    return torch.cat([text[row : row + 1] for text, row in rows])
