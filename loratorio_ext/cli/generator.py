"""The page's model and server, made of a diffusers host."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Final

from PIL import Image
from torch import Tensor

from loratorio_ext.cli.tools import ModelChoice
from loratorio_ext.cli.writing import free_name, model_name, picture_parameters, write_picture
from loratorio_ext.hosts.diffusers_host import DiffusersHost, Request
from loratorio_ext.networks.files import (
    NO_TRIGGERS,
    HashReader,
    NetworkFolder,
    TriggerReader,
    Triggers,
    UnknownNetworkError,
)
from loratorio_ext.networks.problems import shown
from loratorio_ext.networks.prompt import parse_prompt
from loratorio_ext.server.history import History
from loratorio_ext.server.options import Options
from loratorio_ext.server.presets import Presets
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.ui.page.generator import Drawn, Facts, Job, OnStep

SECONDS_BETWEEN_SKETCHES: Final = 0.5
LARGEST_HASHED: Final = 2**26
"""Bytes of a network whose hash is looked for when an infotext is pasted: a tenth of a second."""
# In the embedded world a network's name is its trigger word (demo/README.md).
EXAMPLES: Final = (
    "a blue plain star on grid with moon <lora:star:1> <lora:grid:1> <lora:moon:1>",
    "a red ringed heart on sunset with flower <lora:ringed:1> <lora:heart:1> <lora:sunset:1> <lora:flower:1>",
    "a green checkered circle on night with moon <lora:checkered:1> <lora:moon:1>",
    "an orange striped star on sand with kite <lora:star:1>",
)


class HostGenerator:
    """Draws with a host, one picture at a time, and keeps every picture in a folder."""

    def __init__(
        self,
        models: Sequence[ModelChoice],
        open_model: Callable[[ModelChoice], DiffusersHost],
        out: Path,
        words: Words,
    ) -> None:
        """Open the first model.

        Args:
            models: at least one; one of them is open at a time.
            open_model: raises ValueError for what cannot be opened.
            out: the folder for pictures.
            words: the page's language.
        """
        self._models = {_name(place, models, words): one for place, one in enumerate(models)}
        self._open, self._out, self.words = open_model, out, words
        self._hashes = HashReader()
        self._name = next(iter(self._models))
        self.model = models[0]
        self.host: DiffusersHost | None = open_model(self.model)

    @property
    def facts(self) -> Facts:
        """Of the model that draws."""
        host = self._opened()
        return Facts(
            name=self._name,
            samplers=host.samplers,
            steps=self.model.steps,
            cfg=self.model.cfg,
            size=host.default_size,
            multiple=host.side_multiple,
            examples=EXAMPLES if self.model.embedded else (),
            models=tuple(self._models) if len(self._models) > 1 else (),
            stem=model_name(self.model.path),
            hash_of=self._hash_of,
        )

    def _hash_of(self, name: str) -> str:
        folder = self.model.networks
        try:
            return self._hashes.of(NetworkFolder(folder).find(name), LARGEST_HASHED) if folder else ""
        except ValueError:
            return ""

    def choose(self, name: str) -> None:
        """Let another model draw; see `ui.page.generator.Generator`."""
        if name not in self._models:
            raise ValueError(
                self.words("There is no model {name} here; load the page again.", name=shown(name))
            )
        if name != self._name:
            # The old one makes room first; where the new one cannot be opened, it comes back.
            self.host = None
            try:
                self.host = self._open(self._models[name])
                self._name, self.model = name, self._models[name]
            finally:
                self._opened()

    def _opened(self) -> DiffusersHost:
        if self.host is None:
            self.host = self._open(self.model)
        return self.host

    def draw(self, job: Job, seed: int, on_step: OnStep) -> Drawn:
        """Draw the picture of ``seed``; see `ui.page.generator.Generator`."""
        if self.model.networks is None and (parse_prompt(job.prompt).tags or job.settings.pool):
            raise ValueError(
                self.words(
                    "Networks are asked for, and this page knows no folder of them: start it with --lora-dir."
                )
            )
        request = Request(
            prompts=[job.prompt],
            negative_prompt=job.negative,
            steps=job.steps,
            cfg=job.cfg,
            seeds=(seed,),
            width=job.width,
            height=job.height,
            sampler=job.sampler,
            settings=job.settings,
            method="loratorio" if job.settings.enabled else "merge",
            network_dir=self.model.networks,
            image=job.image,
            denoising_strength=job.denoising_strength,
            hires_scale=job.hires_scale,
            hires_steps=job.hires_steps,
        )
        host = self._opened()
        seen = _Sketches(host)
        try:
            result = host.generate(request, lambda step, steps: on_step(step, steps, seen.newest), seen.keep)
        except UnknownNetworkError as error:
            if not error.near or "did you mean" not in str(error):
                raise
            # The sentence that stands beside the cost, so that one thing is not said in two ways.
            names = {"name": shown(error.name), "other": shown(error.near[0])}
            told = self.words("{name} is not among the networks; did you mean {other}?", **names)
            raise ValueError(told) from error
        image = result.images[0]
        infotext = picture_parameters(request, result, self.model.path, seed, (job.width, job.height))
        write_picture(free_name(self._out / f"{seed}-{request.method}.png"), image, infotext)
        return Drawn(image, seed, infotext, result.report, result.hires_report)


def _name(place: int, models: Sequence[ModelChoice], words: Words) -> str:
    """What people know a model by; with its place where another one's file has the same name."""
    one = models[place]
    if one.embedded:
        return words("the embedded model")
    alone = sum(other.path.name == one.path.name for other in models) == 1
    return one.path.name if alone else f"{one.path.name} ({place + 1})"


class _Sketches:
    """Small pictures of what is being drawn, made now and then, when somebody asks for one."""

    def __init__(self, host: DiffusersHost) -> None:
        self._host = host
        self._made_at = -math.inf
        self._denoised: Tensor | None = None
        self._image: Image.Image | None = None

    def keep(self, denoised: Tensor) -> None:
        """The newest latents, [1, C, H, W]."""
        self._denoised = denoised

    def newest(self) -> Image.Image | None:
        """Of the newest latents, or of earlier ones where that was a moment ago."""
        now = time.monotonic()
        if self._denoised is not None and now - self._made_at >= SECONDS_BETWEEN_SKETCHES:
            self._made_at, self._image = now, self._host.sketch(self._denoised[0])
        return self._image


class NetworkList:
    """The networks of a folder, which is walked through once and again when asked to."""

    def __init__(self, folder: Path | None) -> None:
        """``folder``: None has none."""
        self._folder = folder
        self._reader = TriggerReader()
        self.refresh()

    def refresh(self) -> None:
        """Look at the folder again."""
        self.paths: Mapping[str, str] = {} if self._folder is None else NetworkFolder(self._folder)

    def triggers(self, name: str) -> Triggers:
        """A network's trigger words."""
        try:
            paths = self.paths
            return self._reader.of(paths.find(name)) if isinstance(paths, NetworkFolder) else NO_TRIGGERS
        except ValueError:  # the file is gone
            return NO_TRIGGERS


def page_server(networks: Path | None, words: Words) -> Server:
    """One server for the page: the networks of a folder, language, and the user's own presets."""
    options, known = Options(), NetworkList(networks)
    return Server(
        host="diffusers",
        version=metadata.version("diffusers"),
        history=History(lambda: options.limits_of_history),
        presets=Presets(own_presets()),
        networks=lambda: known.paths,
        refresh=known.refresh,
        options=lambda: options,
        words=lambda: words,
        obstacle=lambda: None,
        merged_on_top=False,
        triggers=known.triggers,
    )


def own_presets() -> Path:
    """The file of the user's own presets, where the system keeps such files."""
    folder = os.environ.get("APPDATA") if os.name == "nt" else os.environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "loratorio" / "presets.json"
