"""What a generation asks of the model: one evaluation of the UNet after the other, and the pictures."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal

import torch
from PIL import Image, ImageOps
from torch import Tensor

from loratorio_ext.hosts.diffusers_host.encoding import Encodings
from loratorio_ext.hosts.diffusers_host.pipeline import is_xl
from loratorio_ext.hosts.diffusers_host.spaces import NoiseLevel, PredictionType, converter
from loratorio_ext.method import RowMap
from loratorio_ext.networks.router import Places, Router
from loratorio_ext.run import Routes, Row, RowStrengths
from loratorio_ext.run.routes import TextShares

ConditionsOf = Callable[[tuple[tuple[Row, TextShares], ...]], tuple[Tensor, dict[str, Any]]]
"""(the image of every row, int64 [len(rows)]; keyword arguments for the UNet)."""


def conditions_of(pipeline: Any, encodings: Encodings, size: tuple[int, int], cfg: float) -> ConditionsOf:
    """The UNet's arguments that depend on rows and their texts alone, gathered once for every pattern.

    size: width and height in pixels. cfg: guidance scale, for models that take it as an input.
    """
    unet = pipeline.unet

    # A choice of networks that changes at every scan makes many patterns.
    @lru_cache(maxsize=8)
    def gathered(rows: tuple[tuple[Row, TextShares], ...]) -> tuple[Tensor, dict[str, Any]]:
        hidden, pooled = encodings.select(rows)
        arguments: dict[str, Any] = {"encoder_hidden_states": hidden}
        if is_xl(pipeline):
            width, height = size
            # Original size, upper left corner of the crop, target size (SDXL, arXiv 2307.01952, section 2.2).
            ids = torch.tensor([height, width, 0, 0, height, width], dtype=hidden.dtype, device=hidden.device)
            arguments["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": ids.repeat(len(rows), 1)}
        if unet.config.time_cond_proj_dim is not None:
            scale, dim = torch.full((len(rows),), cfg - 1.0), unet.config.time_cond_proj_dim
            embedded = pipeline.get_guidance_scale_embedding(scale, embedding_dim=dim)
            arguments["timestep_cond"] = embedded.to(hidden.device, hidden.dtype)
        return torch.tensor([row.index for row, _ in rows], device=hidden.device), arguments

    return gathered


@dataclass(frozen=True)
class PipelineEvaluation:
    """One evaluation of the UNet, as the run asks for it; see `run.Evaluation`.

    Predictions stay in the space that the UNet was trained in, which is what the scheduler's `step` takes.
    timestep: element of the scheduler's timesteps. model_input: [B, C, H, W] the latent as the UNet sees it.
    prediction: what the UNet was trained to predict. conditions: the UNet's other arguments. routes: of the
    run. own: the composed networks with which a text is another one than the base's.
    """

    index: int
    total: int
    timestep: Tensor
    model_input: Tensor
    level: NoiseLevel
    prediction: PredictionType
    guided: bool
    unet: Any
    conditions: ConditionsOf
    routes: Routes
    own: frozenset[int]
    router: Router
    given: None = None

    @cached_property
    def rows(self) -> RowMap:
        """One conditional row per picture: this host has no AND prompts."""
        return RowMap.one_each(self.model_input.shape[0])

    @property
    def sigma(self) -> float:
        """σ/α, the sigma of k-diffusion."""
        return self.level.ratio

    @property
    def noise_scale(self) -> float:
        """See `NoiseLevel.noise_of`."""
        return self.level.noise_of(self.prediction)

    def predict(
        self, rows: Sequence[Row], strengths: Sequence[RowStrengths], places: Places | None
    ) -> tuple[Tensor, int]:
        """(the UNet's output for `rows`, [len(rows), C, H, W]; 1 call)."""
        texts = ((row, self.routes.text_of(row, self.rows, self.own)) for row in rows)
        images, arguments = self.conditions(tuple(texts))
        x = self.model_input.index_select(0, images)
        with self.router.routing(strengths, places):
            return self.unet(x, self.timestep, return_dict=False, **arguments)[0], 1

    def call_group(self, row: Row) -> Hashable:
        """All texts have the same length here, so any rows may share a call."""
        return None

    def compare_as(self, space: Literal["noise", "denoised"]) -> Callable[[Tensor], Tensor] | None:
        """Predictions into noise or denoised latents; None where they are that already."""
        return converter(space, self.prediction, self.model_input, self.level)

    def release(self) -> None:
        """Drop the networks' stacked copies."""
        self.router.release()


def encode_picture(pipeline: Any, image: Image.Image, size: tuple[int, int]) -> Tensor:
    """The latents [1, C, H, W] of a picture, scaled and cropped to `size` (width and height in pixels).

    The most likely ones: no chance enters, so that a seed gives its picture in every batch.
    """
    fitted = ImageOps.fit(image.convert("RGB"), size, Image.Resampling.LANCZOS)
    pixels = pipeline.image_processor.preprocess(fitted)
    with _vae_that_does_not_overflow(pipeline) as vae:
        encoded = vae.encode(pixels.to(vae.device, vae.dtype))
    # A tiny autoencoder gives no distribution.
    latents: Tensor = encoded.latent_dist.mode() if hasattr(encoded, "latent_dist") else encoded.latents
    deviation, mean = _statistics(vae.config, latents)
    return (latents - mean) / deviation * float(vae.config.scaling_factor)


def decode(pipeline: Any, latents: Tensor) -> list[Image.Image]:
    """Pictures of `latents` [B, C, H, W]; one at a time, so that a batch needs no more memory than one."""
    deviation, mean = _statistics(pipeline.vae.config, latents)
    latents = latents / pipeline.vae.config.scaling_factor * deviation + mean
    with _vae_that_does_not_overflow(pipeline) as vae:
        pictures = [vae.decode(one.to(vae.dtype), return_dict=False)[0] for one in latents.split(1)]
    images: list[Image.Image] = pipeline.image_processor.postprocess(torch.cat(pictures), output_type="pil")
    return images


def _statistics(config: Any, latents: Tensor) -> tuple[Tensor, Tensor]:
    """(deviation, mean) of the VAE's own latents: of each channel, where its configuration has them."""
    found = getattr(config, "latents_std", None), getattr(config, "latents_mean", None)
    deviation, mean = (1.0, 0.0) if None in found else found
    deviation, mean = (latents.new_tensor(one).view(1, -1, 1, 1) for one in (deviation, mean))
    return deviation, mean + (getattr(config, "shift_factor", None) or 0.0)


@contextmanager
def _vae_that_does_not_overflow(pipeline: Any) -> Iterator[Any]:
    """The VAE; that of SDXL overflows in float16, its configuration says so, and it is float32 meanwhile."""
    vae, dtype = pipeline.vae, pipeline.vae.dtype
    upcast = dtype == torch.float16 and bool(getattr(vae.config, "force_upcast", False))
    try:
        yield vae.to(torch.float32) if upcast else vae
    finally:
        if upcast:
            vae.to(dtype)
