"""Another autoencoder is taken where it fits, and refused with the reason where it does not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from loratorio_ext.hosts.diffusers_host.pipeline import ModelError
from loratorio_lab.evaluate.composlora.autoencoder import replace_autoencoder
from tests.hosts_diffusers.pipelines import make_vae


def saved(folder: Path, **more: Any) -> Path:
    make_vae(**more).save_pretrained(folder)
    return folder


@pytest.fixture
def sd() -> SimpleNamespace:
    """As much of a pipeline as has to do with it."""
    return SimpleNamespace(vae=make_vae())


def test_one_that_fits_is_taken_in_the_dtype_of_the_old_one(sd: Any, tmp_path: Path) -> None:
    sd.vae.to(torch.float64)
    before = sd.vae
    replace_autoencoder(sd, saved(tmp_path))
    assert sd.vae is not before
    assert sd.vae.dtype == torch.float64
    assert not sd.vae.training


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"latent_channels": 8}, "'channels': 8"),
        (
            {
                "block_out_channels": (8, 16, 16),
                "down_block_types": ("DownEncoderBlock2D",) * 3,
                "up_block_types": ("UpDecoderBlock2D",) * 3,
            },
            "'blocks': 3",
        ),
    ],
)
def test_one_of_other_latents_is_refused(more: Any, words: str, sd: Any, tmp_path: Path) -> None:
    before = sd.vae
    with pytest.raises(ModelError, match=words):
        replace_autoencoder(sd, saved(tmp_path, **more))
    assert sd.vae is before


def test_damaged_and_missing_files_are_named(sd: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is no autoencoder"):
        replace_autoencoder(sd, tmp_path)
    file = next(saved(tmp_path).glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ModelError, match="cannot be loaded"):
        replace_autoencoder(sd, tmp_path)
