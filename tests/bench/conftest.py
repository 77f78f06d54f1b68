from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

from loratorio_lab.bench.networks import Layers, random_networks
from loratorio_lab.bench.shapes import Shape, build_unet, random_rows
from loratorio_lab.bench.ways import Setup
from tests.hosts_diffusers.pipelines import UNET

CPU = torch.device("cpu")
TINY = Shape(
    "tiny", {**UNET, "in_channels": 4, "out_channels": 4, "cross_attention_dim": 12}, latent=8, tokens=5
)
TINY_XL = Shape(
    "tiny xl",
    {
        **TINY.config,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 256,
        "projection_class_embeddings_input_dim": 6 * 256 + 20,
    },
    latent=8,
    tokens=5,
)


def setup_of(
    networks: int = 3, layers: Layers = "linear", pictures: int = 1, shape: Shape = TINY, rank: int = 4
) -> Setup:
    unet = build_unet(shape, CPU, torch.float32)
    rows = random_rows(shape, shape.latent, pictures, CPU, torch.float32)
    return Setup.of(unet, random_networks(unet, networks, rank, layers), rows)


@pytest.fixture
def tiny() -> SimpleNamespace:
    return SimpleNamespace(shape=TINY, xl=TINY_XL, setup=setup_of)


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """Threads are the process's; a test that sets them sets them back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
