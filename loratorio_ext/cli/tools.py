"""What the commands work with: a host, the judge, the page; imported when needed, as torch is slow."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from loratorio_ext.cli.places import DemoData, find_demo_data

if TYPE_CHECKING:
    from PIL import Image

    from loratorio_ext.hosts.diffusers_host import Request, Result
    from loratorio_ext.server.server import Server
    from loratorio_ext.ui.page.generator import Generator
    from loratorio_ext.ui.page.page import Address

Scores = Mapping[str, Mapping[str, float]]
"""The judge's opinion of one picture: the probability of every value of every factor."""


class Host(Protocol):
    """A model that draws; see `hosts.diffusers_host.DiffusersHost`."""

    @property
    def default_size(self) -> tuple[int, int]:
        """The model's own width and height in pixels."""

    @property
    def side_multiple(self) -> int:
        """Widths and heights are multiples of this, in pixels."""

    @property
    def samplers(self) -> tuple[str, ...]:
        """Names of samplers, the model's own first."""

    def generate(self, request: Request, on_step: Callable[[int, int], None] | None = None) -> Result:
        """Draw one batch of pictures."""


class Judge(Protocol):
    """A classifier of pictures; see `cli.judge.Judge`."""

    def scores(self, images: Sequence[Image.Image]) -> Sequence[Scores]:
        """For every picture the probability of every value of every factor."""


class OpenHost(Protocol):
    """As `open_host`."""

    def __call__(
        self,
        path: Path,
        device: str | None,
        dtype: str | None,
        *,
        offline: bool,
        config: Path | None = None,
    ) -> Host:
        """Open a model."""


def hush_libraries() -> None:
    """Leave the terminal to the commands: no bars of other libraries and no notes that need no action.

    diffusers, for one, warns that the embedded model's autoencoder is not Stable Diffusion's own. The
    variables go to child processes too; one that the user has set stays.
    """
    for name, value in (
        ("DIFFUSERS_VERBOSITY", "error"),
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
    ):
        os.environ.setdefault(name, value)


def open_host(
    path: Path, device: str | None, dtype: str | None, *, offline: bool, config: Path | None = None
) -> Host:
    """A diffusers model at `path`; raises ValueError for what cannot be opened."""
    hush_libraries()
    from loratorio_ext.hosts.diffusers_host import DiffusersHost

    return DiffusersHost.open(path, device, dtype, config=config, offline=offline)


def load_judge(path: Path) -> Judge:
    """The judge whose weights lie at `path`; raises ValueError where these are something else."""
    from loratorio_ext.cli.judge import Judge as EmbeddedJudge

    return EmbeddedJudge.load(path)


def serve_page(server: Server, generator: Generator, address: Address, ready: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C; see `ui.page.page.serve_page`."""
    from loratorio_ext.ui.page.page import serve_page as serve

    serve(server, generator, address, ready)


@dataclass(frozen=True)
class Tools:
    """The real tools; tests hand over others."""

    open_host: OpenHost = open_host
    load_judge: Callable[[Path], Judge] = load_judge
    find_demo_data: Callable[[], DemoData] = find_demo_data
    serve_page: Callable[[Server, Generator, Address, Callable[[str], None]], None] = serve_page
