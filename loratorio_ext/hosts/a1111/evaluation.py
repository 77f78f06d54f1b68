"""One model call of the WebUI's CFG denoiser, as the run asks for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from loratorio_ext.hosts.a1111 import webui
from loratorio_ext.hosts.webuis.conditions import Conditions
from loratorio_ext.hosts.webuis.texts import joined_texts, rows_of_text, with_marks_of
from loratorio_ext.method import Subprompts
from loratorio_ext.run import Row, Source


@dataclass(frozen=True)
class Texts:
    """Conditions of the rows of one model call (see ``webuis.texts``)."""

    cond: Any
    uncond: Any


@dataclass(frozen=True)
class DenoiserEvaluation:
    """What CFGDenoiser.forward shows of one model call (see ``run.Evaluation``).

    The base's predictions are there already: the WebUI has just made them. Predictions are in the space of
    the sampler: denoised latents in k-diffusion's samplers, noise in those that count timesteps.

    Attributes:
        denoiser: the CFGDenoiser.
        params: CFGDenoiserParams after all callbacks; x, sigma and image_cond hold a row for each conditional
            row and then one for each image.
        predicted: CFGDenoisedParams.x, rows in the same order.
        conds_list: for every image its conditional rows and their AND weights.
        texts: conditions by source.
        guided: whether there are unconditional predictions at this step.
    """

    denoiser: Any
    params: Any
    predicted: Tensor
    conds_list: Sequence[Sequence[tuple[int, float]]]
    texts: Mapping[Source, Texts]
    guided: bool

    @classmethod
    def of(
        cls, params: Any, predicted: Tensor, conditions: Mapping[Source, Conditions]
    ) -> DenoiserEvaluation:
        """The evaluation of one call; ``conditions`` of the sources that do not see what the base sees."""
        denoiser, step = params.denoiser, params.denoiser.step
        base = Texts(params.text_cond, params.text_uncond)
        texts: dict[Source, Texts] = {"base": base}
        for source, one in conditions.items():
            texts[source] = Texts(
                with_marks_of(webui.conds_at(one.c, step)[1], base.cond),
                with_marks_of(webui.unconds_at(one.uc, step), base.uncond),
            )
        conds_list, _ = webui.conds_at(denoiser.sampler.sampler_extra_args["cond"], step)
        return cls(
            denoiser,
            params,
            predicted,
            conds_list,
            {source: _padded(text, denoiser) for source, text in texts.items()},
            guided=not webui.skips_uncond(denoiser, params.sigma),
        )

    @property
    def index(self) -> int:
        """Number of the model call in this sampling pass."""
        return int(self.denoiser.step)

    @property
    def total(self) -> int:
        """How many calls the sampler announced."""
        return max(int(self.denoiser.total_steps), 1)

    @property
    def sigma(self) -> Tensor:
        """Sigma or timestep of the first row."""
        sigma: Tensor = self.params.sigma[0]
        return sigma

    @property
    def subprompts(self) -> Subprompts | None:
        """Which row belongs to which image; None without AND."""
        if all(len(rows) == 1 for rows in self.conds_list):
            return None
        owners = {row: (image, w) for image, rows in enumerate(self.conds_list) for row, w in rows}
        rows = [owners[row] for row in sorted(owners)]
        return Subprompts(tuple(image for image, _ in rows), tuple(float(weight) for _, weight in rows))

    @property
    def images(self) -> int:
        """Number of images B."""
        return len(self.conds_list)

    @property
    def cond_rows(self) -> int:
        """Number of conditional rows R."""
        return sum(len(rows) for rows in self.conds_list)

    @property
    def base_calls(self) -> int:
        """How often CFGDenoiser.forward has called the model for all rows of the base, of each call."""
        base, batches = self.texts["base"], webui.batches_cond_and_uncond()
        if not self.guided or base.cond.shape[1] == base.uncond.shape[1]:
            rows = self.cond_rows + self.images * self.guided
            return 1 if batches else math.ceil(rows / self.images)
        return math.ceil(self.cond_rows / (self.images * (1 + batches))) + 1

    @property
    def noise_scale(self) -> float | Tensor:
        """1 where noise is predicted; 1/σ where the denoised latent is, since x = x0 + σ·ε."""
        return 1.0 if webui.predicts_noise(self.denoiser) else 1.0 / self.sigma

    def call_group(self, row: Row) -> Hashable:
        """Rows share calls as far as their texts are equally long."""
        return int(self._text(row).shape[1])

    def predict(self, rows: Sequence[Row]) -> Tensor:
        """Predictions [len(rows), C, H, W]."""
        places = [self._place(row) for row in rows]
        if rows[0].source == "base":
            return self.predicted[places]
        text = joined_texts([rows_of_text(self._text(row), [row.index]) for row in rows])
        predicted: Tensor = self.denoiser.inner_model(
            self.params.x[places],
            self.params.sigma[places],
            cond=_condition(text, self.params.image_cond[places]),
        )
        # Where the WebUI calls cond and uncond apart, its rows are in float32 though the model's may be half.
        return predicted.to(self.predicted.dtype)

    def compare_as(self, space: Literal["noise", "denoised"]) -> Callable[[Tensor], Tensor] | None:
        """Noise from denoised latents or the other way round, up to a positive factor."""
        x, sigma = self.params.x[: self.cond_rows], self.params.sigma[: self.cond_rows]
        predicts_noise = webui.predicts_noise(self.denoiser)
        if space == ("noise" if predicts_noise else "denoised"):
            return None
        if predicts_noise:
            return lambda noise: self.denoiser.get_pred_x0(x.to(noise.dtype), noise, sigma)
        return lambda denoised: x.to(denoised.dtype) - denoised

    def put(self, cond: Tensor, uncond: Tensor | None) -> None:
        """Write composed predictions where the WebUI combines them."""
        rows = self.cond_rows
        self.predicted[:rows] = cond
        if uncond is not None:
            self.predicted[rows:] = uncond
        else:  # the WebUI filled these rows with every image's first conditional prediction
            self.predicted[rows:] = cond[[conds[0][0] for conds in self.conds_list]]

    def _place(self, row: Row) -> int:
        return row.index if row.half == "cond" else self.cond_rows + row.index

    def _text(self, row: Row) -> Any:
        texts = self.texts.get(row.source, self.texts["base"])
        return texts.cond if row.half == "cond" else texts.uncond


def _condition(text: Any, image_cond: Tensor) -> dict[str, Any]:
    """The model's ``cond`` argument (CFGDenoiser.forward, make_condition_dict)."""
    if webui.conditioning_key() == "crossattn-adm":
        return {"c_crossattn": [text], "c_adm": image_cond}
    if isinstance(text, dict):
        return {**text, "c_concat": [image_cond]}
    return {"c_crossattn": [text], "c_concat": [image_cond]}


def _padded(texts: Texts, denoiser: Any) -> Texts:
    """Cond and uncond equally long where the user's options say so (CFGDenoiser.forward)."""
    method = webui.padding()
    if method is None or texts.cond.shape[1] == texts.uncond.shape[1]:
        return texts
    # The WebUI's methods write into dicts.
    copies = [type(part)(part) if isinstance(part, dict) else part for part in (texts.cond, texts.uncond)]
    return Texts(*getattr(denoiser, method)(*copies))
