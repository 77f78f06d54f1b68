"""The diffusers host: a model, its networks, and `generate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from loratorio_ext.hosts.diffusers_host.encoding import encode
from loratorio_ext.hosts.diffusers_host.generate import (
    PipelineEvaluation,
    conditions_of,
    decode,
    first_latents,
)
from loratorio_ext.hosts.diffusers_host.networks import NetworkCache, TaggedNetwork, with_pool
from loratorio_ext.hosts.diffusers_host.pipeline import (
    check_pipeline,
    components,
    open_pipeline,
    pick_device,
    pick_dtype,
)
from loratorio_ext.hosts.diffusers_host.request import ParsedRequest, Request, Result, parse_request
from loratorio_ext.hosts.diffusers_host.samplers import (
    make_scheduler,
    sampler_name,
    set_steps,
    step_arguments,
    usable_samplers,
)
from loratorio_ext.hosts.diffusers_host.spaces import NoiseSchedule
from loratorio_ext.networks.files import NetworkFolder, key_map
from loratorio_ext.networks.router import Router
from loratorio_ext.run import NetworkUse, Run

OnStep = Callable[[int, int], None]
"""Called after every evaluation with (evaluations done, evaluations in all)."""


class DiffusersHost:
    """Stable Diffusion 1.x, 2.x or XL through diffusers, with composed networks.

    The model's weights are never changed and its scheduler is never used: every generation works on a
    scheduler of its own, and hooks exist only while the model runs.
    """

    def __init__(self, pipeline: Any) -> None:
        """`pipeline`: a StableDiffusionPipeline or StableDiffusionXLPipeline; ModelError for others."""
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

        Raises:
            ModelError: A ValueError that names the path, the reason and the remedy: no such path, another
                kind of model, damaged files, a configuration that cannot be had.
        """
        chosen = pick_device(device)
        return cls(open_pipeline(Path(path), chosen, pick_dtype(dtype, chosen), config, offline))

    @property
    def default_size(self) -> tuple[int, int]:
        """The model's own picture size (width, height) in pixels."""
        size = self.pipeline.unet.config.sample_size
        height, width = (size, size) if isinstance(size, int) else size
        factor = self.pipeline.vae_scale_factor
        return width * factor, height * factor

    @property
    def side_multiple(self) -> int:
        """Widths and heights are multiples of this, in pixels."""
        return int(self.pipeline.vae_scale_factor)

    @property
    def samplers(self) -> tuple[str, ...]:
        """Every sampler that can be used here, by its short name; the model's own first."""
        return usable_samplers(self.pipeline.scheduler)

    @torch.no_grad()
    def generate(self, request: Request, on_step: OnStep | None = None) -> Result:
        """Draw the pictures of `request`.

        An exception from `on_step` or an interrupt ends the generation and leaves nothing behind.

        Raises:
            ValueError: a value, a sampler or a network that cannot be; before any work is done.
        """
        pipeline, unet = self.pipeline, self.pipeline.unet
        parsed = parse_request(
            request,
            factor=self.side_multiple,
            default_size=self.default_size,
            guidable=unet.config.time_cond_proj_dim is None,
        )
        scheduler = make_scheduler(request.sampler, pipeline.scheduler)
        timesteps = set_steps(scheduler, request.steps, unet.device)
        networks, warnings = self._load(parsed, request.settings.pool)
        run = Run(
            request.settings,
            [NetworkUse(tag.name, tag.unet, tag.compose) for tag, _ in networks],
            method=request.method,
            switch_every=request.switch_every,
            host="diffusers",
        )
        encodings = encode(pipeline, parsed.texts, parsed.negative, networks)
        conditions = conditions_of(pipeline, encodings, parsed.size, request.cfg)
        for warning in (*parsed.warnings, *warnings, *encodings.warnings):
            run.report.warn(warning)

        layers = {f"unet.{name}": module for name, module in unet.named_modules()}
        router = Router(layers, [network.part("unet") for _, network in networks])
        generators = [torch.Generator().manual_seed(seed) for seed in parsed.seeds]
        latents = first_latents(pipeline, scheduler, parsed.size, generators)
        arguments = step_arguments(scheduler, generators, parsed.seeds)
        schedule = NoiseSchedule(scheduler)
        try:
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
                    router=router,
                )
                predicted = run.step(evaluation)
                output = predicted.cond
                if predicted.uncond is not None:
                    output = predicted.uncond + request.cfg * (predicted.cond - predicted.uncond)
                following = scheduler.step(output, timestep, latents, **arguments, return_dict=False)[0]
                latents = following.to(latents.dtype)  # some schedulers answer in float32
                if on_step is not None:
                    on_step(index + 1, len(timesteps))
        finally:
            router.release()
        name = request.sampler
        if not isinstance(name, str):
            name = sampler_name(scheduler, pipeline.scheduler)
        return Result(decode(pipeline, latents), latents, run.report, name)

    def _load(self, parsed: ParsedRequest, pool: str) -> tuple[list[TaggedNetwork], list[str]]:
        """(the networks of the tags and of the pool, what the user should know of them)."""
        if parsed.folder is None:
            return [], []
        folder = NetworkFolder(parsed.folder)
        tags, repeated = folder.one_per_file(parsed.tags)
        networks = [(tag, self._networks.load(tag, folder)) for tag in with_pool(tags, pool, folder)]
        unmatched = [
            f"Network {tag.name!r}: {len(network.unmatched)} of its keys fit no layer of this model, "
            f"such as {network.unmatched[0]!r}."
            for tag, network in networks
            if network.unmatched
        ]
        return networks, [*map(str, repeated), *unmatched]
