"""What the commands work with: a model, networks, the judge, the page; opened late, because torch is slow."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import util
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from loratorio_ext.cli.console import InputError

if TYPE_CHECKING:
    from loratorio_ext.cli.judge import Judge
    from loratorio_ext.hosts.diffusers_host import DiffusersHost, Request
    from loratorio_ext.server.server import Server
    from loratorio_ext.ui.page.generator import Generator
    from loratorio_ext.ui.page.page import Address

PACKAGE: Final = Path(__file__).resolve().parents[1]
EXTRAS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "diffusers": ("diffusers", "transformers", "accelerate", "peft", "pillow", "tqdm"),
        "page": ("gradio",),
    }
)
"""What a command may need beyond a plain installation, as in pyproject.toml."""


def check_installed(*extras: str) -> None:
    """Before anything is imported: whether all packages of these extras are there.

    Raises:
        InputError: one is missing; says which, and what installs them.
    """
    needed = [package for extra in extras for package in EXTRAS[extra]]
    missing = [one for one in needed if util.find_spec("PIL" if one == "pillow" else one) is None]
    if missing:
        which = ",".join(extras)
        raise InputError(
            f"not installed: {', '.join(missing)}. Install what this command needs with: "
            f"pip install 'loratorio[{which}]' (in a checkout: pip install -e '.[{which}]')."
        )


@dataclass(frozen=True)
class DemoData:
    """The embedded world's files under one folder."""

    folder: Path

    @property
    def model(self) -> Path:
        """A diffusers folder."""
        return self.folder / "model"

    @property
    def networks(self) -> Path:
        """LoRA networks as .safetensors files."""
        return self.folder / "networks"

    @property
    def judge(self) -> Path:
        """The judge's weights."""
        return self.folder / "judge.safetensors"


def find_demo_data(package: Path = PACKAGE) -> DemoData:
    """`demo/` beside the package in a checkout, else `demo_data` inside the installed package.

    Raises:
        InputError: neither holds a model.
    """
    places = (package.parent / "demo", package / "demo_data")
    for place in places:
        if (place / "model" / "model_index.json").is_file():
            return DemoData(place)
    looked = " and ".join(str(place) for place in places)
    raise InputError(
        f"the embedded model was not found (looked in {looked}). Get a complete checkout, make it again with"
        " `loratorio-lab train-demo`, or name a model with --model."
    )


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
) -> DiffusersHost:
    """A diffusers model at `path`; raises ValueError for what cannot be opened."""
    hush_libraries()
    from loratorio_ext.hosts.diffusers_host import DiffusersHost

    return DiffusersHost.open(path, device, dtype, config=config, offline=offline)


def load_judge(path: Path) -> Judge:
    """The judge whose weights lie at `path`; raises ValueError where these are something else."""
    from loratorio_ext.cli.judge import Judge

    return Judge.load(path)


def serve_page(server: Server, generator: Generator, address: Address, ready: Callable[[str], None]) -> None:
    """Serve the page until Ctrl-C; see `ui.page.page.serve_page`."""
    from loratorio_ext.ui.page.page import serve_page as serve

    serve(server, generator, address, ready)


@dataclass(frozen=True)
class Tools:
    """The real tools; tests hand over others, and the laboratory adds where its hard masks come from."""

    hard_masks: Callable[[DiffusersHost, Request, Sequence[str]], Request] | None = None
    open_host: Callable[..., DiffusersHost] = open_host
    load_judge: Callable[[Path], Judge] = load_judge
    find_demo_data: Callable[[], DemoData] = find_demo_data
    serve_page: Callable[[Server, Generator, Address, Callable[[str], None]], None] = serve_page


@dataclass(frozen=True)
class ModelChoice:
    """A model and networks that are there; not opened yet.

    Attributes:
        path: the model.
        networks: folder of the networks; None: none is known.
        embedded: whether it is the embedded model.
        config: the folder that a model in a single file takes its configuration from.
        steps: of the sampler, what suits this model.
        cfg: guidance scale, likewise.
    """

    path: Path
    networks: Path | None
    embedded: bool
    config: Path | None = None
    steps: int = 30
    cfg: float = 7.0

    def open(self, arguments: Namespace, tools: Tools) -> DiffusersHost:
        """Open it where the options say; nothing is downloaded for the embedded model."""
        offline = self.embedded or arguments.offline
        return tools.open_host(
            self.path, arguments.device, arguments.dtype, offline=offline, config=self.config
        )


def choose_model(arguments: Namespace, tools: Tools) -> ModelChoice:
    """The model and networks that the options name; by default the embedded ones.

    Raises:
        InputError: a place that the options name is not there, or --config is for another kind of model.
    """
    networks: Path | None = arguments.lora_dir
    model: Path | None = arguments.model
    if networks is not None and not networks.is_dir():
        raise InputError(f"--lora-dir {networks} is not a folder.")
    if model is not None and not model.exists():
        raise InputError(f"--model {model} does not exist; name a diffusers folder or a .safetensors file.")
    if arguments.config is not None and (model is None or model.is_dir()):
        raise InputError(
            f"--config {arguments.config} is for a --model that is one .safetensors file; "
            "the embedded model and folders have a configuration of their own."
        )
    if model is None:
        data = tools.find_demo_data()
        return ModelChoice(data.model, networks or data.networks, embedded=True, steps=20, cfg=4.0)
    config = None if arguments.config is None else Path(arguments.config)
    return ModelChoice(model, networks, embedded=False, config=config)


def choose_models(arguments: Namespace, tools: Tools) -> list[ModelChoice]:
    """All models that --model names, once or several times; a folder of models stands for all in it.

    Raises:
        InputError: see `choose_model`; or a folder holds no model.
    """
    found = []
    for path in arguments.model or [None]:
        for one in _models_in(path):
            # A configuration is for a single file, and there may be both kinds.
            config = arguments.config if one is None or path == one or one.is_file() else None
            found.append(
                choose_model(Namespace(**{**vars(arguments), "model": one, "config": config}), tools)
            )
    return found


def _models_in(path: Path | None) -> list[Path | None]:
    if path is None or not path.is_dir() or (path / "model_index.json").is_file():
        return [path]
    inside = [one for one in sorted(path.iterdir()) if one.suffix.lower() == ".safetensors"]
    inside += [one for one in sorted(path.iterdir()) if (one / "model_index.json").is_file()]
    return [*inside] or [path]
