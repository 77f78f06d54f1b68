"""Where models and networks lie: the embedded ones, or those that options name."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loratorio_ext.cli.console import InputError

PACKAGE: Final = Path(__file__).resolve().parents[1]
# Steps and guidance: what suits the embedded model, and what other models usually get.
EMBEDDED: Final = (20, 4.0)
USUAL: Final = (30, 7.0)


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


def model_and_networks(
    arguments: Namespace, find_embedded: Callable[[], DemoData]
) -> tuple[Path, Path | None, bool]:
    """(the model, the folder of networks, whether the model is the embedded one).

    Raises:
        InputError: a place that the options name is not there.
    """
    folder = None if arguments.lora_dir is None else Path(arguments.lora_dir)
    if folder is not None and not folder.is_dir():
        raise InputError(f"--lora-dir {folder} is not a folder.")
    if arguments.model is not None:
        model = Path(arguments.model)
        if not model.exists():
            raise InputError(
                f"--model {model} does not exist; name a diffusers folder or a .safetensors file."
            )
        return model, folder, False
    data = find_embedded()
    return data.model, folder or data.networks, True


def configuration(arguments: Namespace) -> Path | None:
    """The folder that a model in a single file takes its configuration from.

    Raises:
        InputError: the model is no single file.
    """
    if arguments.config is None:
        return None
    if arguments.model is None or Path(arguments.model).is_dir():
        raise InputError(
            f"--config {arguments.config} is for a --model that is one .safetensors file; "
            "the embedded model and folders have a configuration of their own."
        )
    return Path(arguments.config)


def own_presets() -> Path:
    """The file of the user's own presets, where the system keeps such files."""
    folder = os.environ.get("APPDATA") if os.name == "nt" else os.environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "loratorio" / "presets.json"
