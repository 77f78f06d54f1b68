"""Which model a command draws with, and where its networks lie."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loratorio_ext.cli.console import InputError

if TYPE_CHECKING:
    from loratorio_ext.cli.tools import Tools

# Steps and guidance: what suits the embedded model, and what other models usually get.
EMBEDDED: Final = (20, 4.0)
USUAL: Final = (30, 7.0)


def model_and_networks(arguments: Namespace, tools: Tools) -> tuple[Path, Path | None, bool]:
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
    data = tools.find_demo_data()
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
