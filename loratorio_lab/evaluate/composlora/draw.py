"""How the testbed's pictures are drawn."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from loratorio_ext.cli.tools import hush_libraries
from loratorio_ext.hosts.diffusers_host import DiffusersHost, Request
from loratorio_lab.evaluate.arms import MethodArm
from loratorio_lab.evaluate.composlora.autoencoder import replace_autoencoder
from loratorio_lab.evaluate.composlora.testbed import ComposLoraTask
from loratorio_lab.evaluate.engine import Batch

ComposLoraBatch = Batch[MethodArm, ComposLoraTask]


@dataclass(frozen=True)
class Recipe:
    """What all pictures share. Called, here or in a worker, it opens the model and gives what draws a batch.

    Attributes:
        base: the model, a folder of diffusers or a single file.
        config: for a single file, or None.
        autoencoder: a folder with another autoencoder, or None.
        device: its name, or None for what there is.
        dtype: its name, or None for the device's usual one.
        networks: folder of the networks.
        negative: what to keep away from.
        strength: of every network, in UNet and text encoder.
        sampler: its name.
        width: pixels.
        height: pixels.
    """

    base: Path
    config: Path | None
    autoencoder: Path | None
    device: str | None
    dtype: str | None
    networks: Path
    negative: str
    strength: float
    sampler: str
    width: int
    height: int

    def __call__(self) -> Callable[[ComposLoraBatch], list[Drawn]]:
        """Open the model, without asking a hub; raises ValueError where it cannot be opened."""
        hush_libraries()
        host = DiffusersHost.open(self.base, self.device, self.dtype, config=self.config, offline=True)
        if self.autoencoder is not None:
            replace_autoencoder(host.pipeline, self.autoencoder)
        return partial(draw, host, self)


@dataclass(frozen=True)
class Picture:
    """A picture that was drawn.

    Attributes:
        arm: name of the method with its settings.
        task: key of the task.
        rows: predictions that it took.
        plain_rows: predictions that the base alone takes.
        seconds: of the model, for this picture's part of its batch.
        device: what it was drawn on, and in which dtype.
    """

    arm: str
    task: str
    rows: float
    plain_rows: float
    seconds: float
    device: str

    @property
    def key(self) -> tuple[str, str, str]:
        """No two pictures have the same; their one world has no name."""
        return self.arm, "", self.task


@dataclass(frozen=True)
class Drawn:
    """A picture on its way to the disk, with what the run could not do."""

    task: ComposLoraTask
    picture: Picture
    png: bytes
    warnings: tuple[str, ...]


def draw(host: DiffusersHost, recipe: Recipe, batch: ComposLoraBatch) -> list[Drawn]:
    """Draw one batch."""
    arm, tasks = batch.arm, batch.tasks
    result = host.generate(
        Request(
            prompts=[task.prompt(recipe.strength) for task in tasks],
            negative_prompt=recipe.negative,
            seeds=[task.seed for task in tasks],
            steps=arm.sampling.steps,
            cfg=arm.sampling.cfg,
            width=recipe.width,
            height=recipe.height,
            sampler=recipe.sampler,
            settings=arm.settings,
            method=arm.method,
            switch_every=arm.switch_every,
            network_dir=recipe.networks,
        )
    )
    totals, unet, count = result.report.totals, host.pipeline.unet, len(tasks)
    where = torch.cuda.get_device_name(unet.device) if unet.device.type == "cuda" else str(unet.device)
    device = f"{where}, {str(unet.dtype).removeprefix('torch.')}"
    drawn = []
    for task, image in zip(tasks, result.images, strict=True):
        rows = totals.rows / count, totals.plain_rows / count
        picture = Picture(arm.name, task.key, *rows, round(totals.seconds / count, 3), device)
        png = io.BytesIO()
        image.save(png, "PNG")
        drawn.append(Drawn(task, picture, png.getvalue(), tuple(result.report.warnings)))
    return drawn
