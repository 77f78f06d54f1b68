"""The page's model and server, made of a diffusers host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loratorio_ext.cli.writing import free_name, picture_parameters, write_picture
from loratorio_ext.hosts.diffusers_host import Request
from loratorio_ext.networks.files import NetworkFolder
from loratorio_ext.networks.prompt import parse_prompt
from loratorio_ext.server.history import History
from loratorio_ext.server.options import Options
from loratorio_ext.server.presets import Presets
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.ui.page.generator import Drawn, Facts, Job

if TYPE_CHECKING:
    from loratorio_ext.cli.tools import Host

# In the embedded world a network's name is its trigger word (demo/README.md).
EXAMPLES: Final = (
    "a blue plain star on grid with moon <lora:star:1> <lora:grid:1> <lora:moon:1>",
    "a red ringed heart on sunset with flower <lora:ringed:1> <lora:heart:1> <lora:sunset:1> <lora:flower:1>",
    "a green checkered circle on night with moon <lora:checkered:1> <lora:moon:1>",
    "an orange striped star on sand with kite <lora:star:1>",
)


class NetworkList:
    """The networks of a folder, which is walked through once and again when asked to."""

    def __init__(self, folder: Path | None) -> None:
        """``folder``: None has none."""
        self._folder = folder
        self._paths: Mapping[str, str] = {}
        self.refresh()

    def refresh(self) -> None:
        """Look at the folder again."""
        self._paths = {} if self._folder is None else NetworkFolder(self._folder)

    def paths(self) -> Mapping[str, str]:
        """As `Server.networks`."""
        return self._paths


class HostGenerator:
    """Draws with a host, one picture at a time, and keeps every picture in a folder."""

    def __init__(
        self,
        host: Host,
        model: Path,
        networks: Path | None,
        defaults: tuple[int, float],
        out: Path,
        *,
        embedded: bool,
        words: Words,
    ) -> None:
        """`networks`: folder of the tags' networks; `defaults`: steps and guidance; `out`: for pictures."""
        self._host = host
        self._model = model
        self._networks = networks
        self._out = out
        self._words = words
        self._facts = Facts(
            name=words("the embedded model") if embedded else model.name,
            samplers=host.samplers,
            steps=defaults[0],
            cfg=defaults[1],
            size=host.default_size,
            multiple=host.side_multiple,
            examples=EXAMPLES if embedded and networks is not None else (),
        )

    @property
    def facts(self) -> Facts:
        """See `ui.page.generator.Generator`."""
        return self._facts

    def draw(self, job: Job, seed: int, on_step: Callable[[int, int], None]) -> Drawn:
        """See `ui.page.generator.Generator`."""
        if self._networks is None and (parse_prompt(job.prompt).tags or job.settings.pool):
            raise ValueError(
                self._words(
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
            network_dir=self._networks,
        )
        result = self._host.generate(request, on_step)
        image = result.images[0]
        infotext = picture_parameters(request, result, self._model, seed, image.size)
        write_picture(free_name(self._out / f"{seed}-{request.method}.png"), image, infotext)
        return Drawn(image, seed, infotext, result.report)


def server_of(networks: NetworkList, words: Words, presets: Path | None) -> Server:
    """One server for the page: networks, language, and the file of the user's own presets."""
    options = Options()
    return Server(
        host="diffusers",
        version=metadata.version("diffusers"),
        history=History(lambda: options.limits_of_history),
        presets=Presets(presets),
        networks=networks.paths,
        refresh=networks.refresh,
        options=lambda: options,
        words=lambda: words,
        obstacle=lambda: None,
        merged_on_top=False,
    )
