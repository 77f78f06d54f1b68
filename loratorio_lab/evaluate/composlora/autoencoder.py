"""Another autoencoder than the model's own, from a folder of diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL
from safetensors import SafetensorError

from loratorio_ext.hosts.diffusers_host import ModelError
from loratorio_ext.hosts.diffusers_host.pipeline import no_progress_bars


def check_autoencoder_folder(folder: Path) -> None:
    """Raise ModelError unless the folder looks like an autoencoder of diffusers."""
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise ModelError(
            f"{folder} is no autoencoder: it has no config.json with a .safetensors file beside it. Give a "
            "folder in the format of diffusers."
        )


def replace_autoencoder(pipeline: Any, folder: Path) -> None:
    """Let `pipeline` decode with the autoencoder in `folder`, on its device and in its dtype.

    Raises:
        ModelError: no such folder, damaged files, or an autoencoder of other latents.
    """
    check_autoencoder_folder(folder)
    own = pipeline.vae
    try:
        with no_progress_bars():
            other = AutoencoderKL.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"The autoencoder in {folder} cannot be loaded: {error}") from error
    # The number of blocks says how many pixels a latent pixel has.
    mine, theirs = (
        {"channels": one.config.latent_channels, "blocks": len(one.config.block_out_channels)}
        for one in (own, other)
    )
    if theirs != mine:
        raise ModelError(
            f"The autoencoder in {folder} has {theirs}, the model's own has {mine}; take one for the same "
            "family of models."
        )
    pipeline.vae = other.eval().to(own.device, own.dtype)
