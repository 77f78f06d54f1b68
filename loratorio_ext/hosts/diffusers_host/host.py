"""The diffusers host: a model, its networks, and `generate`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from loratorio_ext.hosts.diffusers_host import samplers
from loratorio_ext.hosts.diffusers_host.encoding import encode
from loratorio_ext.hosts.diffusers_host.generate import (
    PipelineEvaluation,
    conditions_of,
    decode,
    encode_picture,
)
from loratorio_ext.hosts.diffusers_host.networks import NetworkCache
from loratorio_ext.hosts.diffusers_host.pipeline import check_pipeline, components, open_pipeline
from loratorio_ext.hosts.diffusers_host.request import PlannedPass, Request, Result, parse_request
from loratorio_ext.hosts.diffusers_host.sketch import colors_of, sketch
from loratorio_ext.hosts.diffusers_host.spaces import NoiseSchedule
from loratorio_ext.method import RowMap
from loratorio_ext.networks.files import key_map
from loratorio_ext.networks.router import Router
from loratorio_ext.networks.router.places import resized
from loratorio_ext.run import NetworkUse, Run


class DiffusersHost:
    """Stable Diffusion 1.x, 2.x or XL through diffusers, with composed networks.

    The model's weights are never changed and its scheduler is never used: every generation works on a
    scheduler of its own, and hooks exist only while the model runs. ModelError for other pipelines.
    """

    def __init__(self, pipeline: Any) -> None:
        check_pipeline(pipeline, type(pipeline).__name__)
        self.pipeline = pipeline
        self._networks = NetworkCache(key_map(components(pipeline)))

    @classmethod
    def open(
        cls,
        path: str | Path,
        device: str | torch.device | None = None,
        dtype: str | torch.dtype | None = None,
        *,
        config: str | Path | None = None,
        offline: bool = False,
    ) -> DiffusersHost:
        """Open a model.

        Args:
            path: A folder in the format of diffusers, or one .safetensors file.
            device: None: CUDA where there is one, else the CPU.
            dtype: float32, float16 or bfloat16; None: float16 on CUDA, else float32.
            config: For a single file: a folder in the format of diffusers of the same model family, whose
                configuration and tokenizer are used. None: diffusers takes them from its cache or the hub.
            offline: Never ask the hub; a single file then needs `config`.

        Raises ModelError, a ValueError that names the path, the reason and the remedy.
        """
        return cls(open_pipeline(Path(path), device, dtype, config, offline))

    @property
    def default_size(self) -> tuple[int, int]:
        """The model's own picture size (width, height) in pixels."""
        size = self.pipeline.unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        return width * self.side_multiple, height * self.side_multiple

    @property
    def side_multiple(self) -> int:
        """Widths and heights are multiples of this, in pixels."""
        return int(self.pipeline.vae_scale_factor)

    @property
    def samplers(self) -> tuple[str, ...]:
        """Every sampler that can be used here, by its short name; the model's own first."""
        return samplers.usable_samplers(self.pipeline.scheduler)

    @torch.no_grad()
    def sketch(self, denoised: Tensor) -> Image.Image:
        """A small picture of the denoised latents of one picture [C, H, W]: see `generate`."""
        return sketch(self._colors, denoised)

    @cached_property
    def _colors(self) -> Tensor:
        return colors_of(self.pipeline)

    @torch.no_grad()
    def generate(
        self,
        request: Request,
        on_step: Callable[[int, int], None] | None = None,
        on_denoised: Callable[[Tensor], None] | None = None,
    ) -> Result:
        """Draw the pictures of `request`.

        on_step: called after every evaluation with (evaluations done, evaluations in all). An exception from
        it or an interrupt ends the generation and leaves nothing behind. on_denoised: called before it with
        the latents that this evaluation takes the pictures for, [B, C, H, W]. Raises ValueError for a value,
        a sampler or a network that cannot be, before any work is done.
        """
        pipeline, unet = self.pipeline, self.pipeline.unet
        guidable = unet.config.time_cond_proj_dim is None
        parsed = parse_request(request, self.side_multiple, self.default_size, guidable)
        passes = [_Sampling.of(one, request.sampler, pipeline) for one in parsed.passes]
        evaluations = sum(len(one.timesteps) for one in passes)
        networks, warnings = self._networks.load_all(
            parsed.tags, request.settings, "\n".join(parsed.texts), parsed.folder
        )
        uses = [NetworkUse.of(tag.name, tag.unet, tag.own) for tag, _ in networks]
        method, period = request.method, request.switch_every
        runs = [
            Run(request.settings, uses, method=method, switch_every=period, host="diffusers") for _ in passes
        ]
        encodings = encode(pipeline, parsed.texts, parsed.negative, networks)
        for warning in (*parsed.warnings, *warnings, *encodings.warnings):
            runs[0].report.warn(warning)

        layers = {f"unet.{name}": module for name, module in unet.named_modules()}
        router = Router(layers, [network.part("unet") for _, network in networks])
        start, done = None, 0
        if request.image is not None:
            encoded = encode_picture(pipeline, request.image, passes[0].size)
            start = encoded.to(unet.dtype).expand(len(parsed.seeds), -1, -1, -1)
        try:
            for sampling, run in zip(passes, runs, strict=True):
                scheduler, timesteps = sampling.scheduler, sampling.timesteps
                conditions = conditions_of(pipeline, encodings, sampling.size, request.cfg)
                generators = [torch.Generator().manual_seed(seed) for seed in parsed.seeds]
                latents = sampling.begun(start, generators, unet)
                if parsed.negative is None:
                    run.is_unguided()
                if request.maps is not None:
                    maps = _maps_of(request.maps, len(run.report.composed), latents)
                    run.place(maps, RowMap.one_each(len(latents)))
                elif run is not runs[0]:
                    run.go_on_from(runs[0], (latents.shape[-2], latents.shape[-1]))
                arguments = samplers.step_arguments(scheduler, generators, parsed.seeds)
                schedule = NoiseSchedule(scheduler, timesteps)
                for index, timestep in enumerate(timesteps):
                    evaluation = PipelineEvaluation(
                        index=index,
                        total=len(timesteps),
                        timestep=timestep,
                        model_input=scheduler.scale_model_input(latents, timestep),
                        level=schedule.level(index),
                        prediction=scheduler.config.prediction_type,
                        guided=parsed.negative is not None,
                        unet=unet,
                        conditions=conditions,
                        routes=run.routes,
                        own=encodings.own,
                        router=router,
                    )
                    predicted = run.step(evaluation)
                    output = predicted.cond
                    if predicted.uncond is not None:
                        output = predicted.uncond + request.cfg * (predicted.cond - predicted.uncond)
                    if on_denoised is not None:
                        denoised = evaluation.compare_as("denoised")
                        on_denoised(output if denoised is None else denoised(output))
                    following = scheduler.step(output, timestep, latents, **arguments, return_dict=False)[0]
                    latents = following.to(latents.dtype)  # some schedulers answer in float32
                    done += 1
                    if on_step is not None:
                        on_step(done, evaluations)
                start = latents
        finally:
            router.release()
        named = isinstance(request.sampler, str)
        name = request.sampler if named else samplers.sampler_name(scheduler, pipeline.scheduler)
        hashes = self._networks.hashes(parsed.tags, parsed.folder)
        first, hires = runs[0].report, runs[1].report if len(runs) > 1 else None
        return Result(decode(pipeline, latents), latents, first, name, hashes, hires)


@dataclass(frozen=True)
class _Sampling:
    """One sampling pass.

    scheduler: of its own, before its first step. timesteps: as `samplers.set_steps` gave them. size: width
    and height in pixels. factor: pixels per latent pixel.
    """

    scheduler: Any
    timesteps: Tensor
    size: tuple[int, int]
    factor: int

    @classmethod
    def of(cls, planned: PlannedPass, sampler: Any, pipeline: Any) -> _Sampling:
        """ValueError for a sampler or a number of steps that cannot be."""
        scheduler = samplers.make_scheduler(sampler, pipeline.scheduler)
        timesteps = samplers.set_steps(scheduler, planned.steps, pipeline.unet.device, planned.skipped)
        return cls(scheduler, timesteps, planned.size, int(pipeline.vae_scale_factor))

    def begun(self, start: Tensor | None, generators: Sequence[torch.Generator], unet: Any) -> Tensor:
        """Noise of the first level, on top of the latents `start` if there are any.

        Each picture's noise is from its own generator on the CPU. Latents of another size are those of the
        pass before, and are scaled as the WebUIs' upscaler "Latent" does.
        """
        width, height = (side // self.factor for side in self.size)
        shape = (1, unet.config.in_channels, height, width)
        noise = torch.cat([torch.randn(shape, generator=one, dtype=unet.dtype) for one in generators])
        noise = noise.to(unet.device)
        if start is None:
            noisy: Tensor = noise * self.scheduler.init_noise_sigma
        else:
            if start.shape[-2:] != noise.shape[-2:]:
                start = F.interpolate(start, (height, width), mode="bilinear")
            noisy = self.scheduler.add_noise(start, noise, self.timesteps[:1].expand(len(noise)))
        return noisy.to(noise.dtype)


def _maps_of(maps: Tensor, networks: int, latents: Tensor) -> Tensor:
    """[N, B, H, W] for these latents; ValueError for another shape, or for what is not finite."""
    pictures = len(latents)
    given = maps if maps.dim() == 4 else maps.expand(pictures, *maps.shape)
    if given.dim() != 4 or given.shape[:2] != (pictures, networks) or not given.isfinite().all():
        raise ValueError(
            f"maps has shape {tuple(maps.shape)}; it must be [{networks}, H, W], one for each composed "
            f"network, or [{pictures}, {networks}, H, W], of finite numbers."
        )
    return resized(given.to(latents.device, torch.float32), (latents.shape[-2], latents.shape[-1])).transpose(
        0, 1
    )
