"""Draws the pictures that are not there yet."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image

from loratorio_ext.evaluate.arms import Arm
from loratorio_ext.evaluate.composlora.records import Picture, picture_path, write_picture
from loratorio_ext.evaluate.composlora.tasks import Task
from loratorio_ext.evaluate.lines import Lines
from loratorio_ext.evaluate.spread import Each
from loratorio_ext.hosts.diffusers_host import DiffusersHost, Request
from loratorio_ext.hosts.diffusers_host.autoencoder import replace_autoencoder

OnPicture = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""


@dataclass(frozen=True)
class Base:
    """The model that draws, and how it is opened; see `hosts.diffusers_host.pipeline.open_pipeline`.

    Attributes:
        path: a folder of diffusers or a single file.
        config: for a single file, or None.
        autoencoder: a folder with another autoencoder, or None.
        device: its name, or None for what there is.
        dtype: its name, or None for the device's usual one.
    """

    path: Path
    config: Path | None = None
    autoencoder: Path | None = None
    device: str | None = None
    dtype: str | None = None

    def open(self) -> Callable[[Batch], list[Drawn]]:
        """Open the model, without asking a hub, and give what draws a batch with it.

        Raises:
            ValueError: it cannot be opened.
        """
        host = DiffusersHost.open(self.path, self.device, self.dtype, config=self.config, offline=True)
        if self.autoencoder is not None:
            replace_autoencoder(host.pipeline, self.autoencoder)
        return partial(drawn, host)


@dataclass(frozen=True)
class Recipe:
    """What all pictures share.

    Attributes:
        networks: folder of the networks.
        negative: what to keep away from.
        strength: of every network, in UNet and text encoder.
        sampler: its name.
        width: pixels.
        height: pixels.
    """

    networks: Path
    negative: str
    strength: float
    sampler: str
    width: int
    height: int


@dataclass(frozen=True)
class Batch:
    """Pictures of one combination by one method, drawn together."""

    arm: Arm
    tasks: tuple[Task, ...]
    recipe: Recipe

    @property
    def name(self) -> str:
        """The arm and the tasks."""
        return f"{self.arm.name}: {', '.join(task.key for task in self.tasks)}"


@dataclass(frozen=True)
class Drawn:
    """A picture on its way to the disk, with what the run could not do."""

    task: Task
    picture: Picture
    png: bytes
    warnings: tuple[str, ...]


def draw(
    folder: Path,
    pictures: Lines[Picture],
    arms: Sequence[Arm],
    tasks: Sequence[Task],
    recipe: Recipe,
    batch: int,
    on_picture: OnPicture,
    warn: Callable[[str], None],
    each: Each[Batch, list[Drawn]],
) -> None:
    """Draw every task by every arm; a picture is on disk before its line is.

    A picture counts as there if its line and its file are; a file that was taken away is drawn again.

    Args:
        folder: where pictures/ is.
        pictures: their lines.
        arms: the methods.
        tasks: what is drawn.
        recipe: how.
        batch: most pictures drawn at once.
        on_picture: called when pictures are on disk.
        warn: told what a run could not do, a network that does not fit the model say; each once.
        each: draws batches with `drawn`, here or elsewhere.

    Raises:
        ValueError: the model, a network or a setting cannot be used; see `DiffusersHost.generate`.
    """
    wanted = len(arms) * len(tasks)
    batches = [
        Batch(arm, tuple(some), recipe)
        for arm in arms
        for some in _together([task for task in tasks if not _is_there(folder, pictures, arm, task)], batch)
    ]
    done = wanted - sum(len(one.tasks) for one in batches)
    results = each(batches)
    told: set[str] = set()
    on_picture(done, wanted)
    for made in results:
        for one in made:
            write_picture(picture_path(folder, one.picture.arm, one.task), one.png)
        pictures.add(one.picture for one in made)
        for text in dict.fromkeys(text for one in made for text in one.warnings if text not in told):
            told.add(text)
            warn(text)
        done += len(made)
        on_picture(done, wanted)


def _is_there(folder: Path, pictures: Lines[Picture], arm: Arm, task: Task) -> bool:
    return (arm.name, task.key) in pictures and picture_path(folder, arm.name, task).is_file()


def _together(tasks: Sequence[Task], size: int) -> Iterator[Sequence[Task]]:
    """Tasks of one combination need the same networks."""
    found: dict[str, list[Task]] = {}
    for task in tasks:
        found.setdefault(task.combination, []).append(task)
    for some in found.values():
        yield from (some[start : start + size] for start in range(0, len(some), size))


def drawn(host: DiffusersHost, batch: Batch) -> list[Drawn]:
    """Draw one batch."""
    recipe, arm, tasks = batch.recipe, batch.arm, batch.tasks
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
    return [
        Drawn(
            task,
            Picture(
                arm.name,
                task.key,
                totals.rows / count,
                totals.plain_rows / count,
                round(totals.seconds / count, 3),
                device,
            ),
            _png(image),
            tuple(result.report.warnings),
        )
        for task, image in zip(tasks, result.images, strict=True)
    ]


def _png(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()
