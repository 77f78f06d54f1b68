"""Where the embedded model, its networks and the judge lie."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loratorio_ext.cli.console import InputError

PACKAGE: Final = Path(__file__).resolve().parents[1]


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
        f"the embedded model is not there (looked in {looked}). Get a whole checkout, make it again with"
        " `loratorio train-demo`, or name a model with --model."
    )


def own_presets() -> Path:
    """The file of the user's own presets, where the system keeps such files."""
    folder = os.environ.get("APPDATA") if os.name == "nt" else os.environ.get("XDG_CONFIG_HOME")
    return (Path(folder) if folder else Path.home() / ".config") / "loratorio" / "presets.json"
