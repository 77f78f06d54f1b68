"""A tiny model and a way to write network files, shared by the tests of loading."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from loratorio_ext.networks.files import TargetLayer, key_map

WriteFile = Callable[..., Path]


class TinyAttention(nn.Module):
    def __init__(self, width: int, context: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_out = nn.ModuleList([nn.Linear(width, width), nn.Dropout(0.0)])


class TinyUNet(nn.Module):
    """Modules under the names of a diffusers UNet; it is never run."""

    def __init__(self, context: int = 12) -> None:
        super().__init__()
        block = nn.Module()
        block.attn1, block.attn2 = TinyAttention(8, 8), TinyAttention(8, context)
        attention = nn.Module()
        attention.norm = nn.GroupNorm(2, 8)
        attention.proj_in = nn.Conv2d(8, 8, 1)
        attention.transformer_blocks = nn.ModuleList([block])
        resnet = nn.Module()
        resnet.conv1 = nn.Conv2d(8, 16, 3, padding=1)
        resnet.time_emb_proj = nn.Linear(6, 16)
        down = nn.Module()
        down.attentions, down.resnets = nn.ModuleList([attention]), nn.ModuleList([resnet])
        self.conv_in = nn.Conv2d(4, 8, 3, padding=1)
        self.down_blocks = nn.ModuleList([down])


class TinyText(nn.Module):
    """Modules under the names of a CLIPTextModel, with or without "text_model."."""

    def __init__(self, nested: bool) -> None:
        super().__init__()
        layer = nn.Module()
        layer.self_attn = nn.ModuleDict(
            {name: nn.Linear(6, 6) for name in ("q_proj", "k_proj", "v_proj", "out_proj")}
        )
        layer.layer_norm1 = nn.LayerNorm(6)
        inner = nn.Module()
        inner.encoder = nn.Module()
        inner.encoder.layers = nn.ModuleList([layer])
        inner.embeddings = nn.Embedding(10, 6)
        if nested:
            self.text_model = inner
        else:
            self.encoder, self.embeddings = inner.encoder, inner.embeddings


@pytest.fixture
def unet() -> TinyUNet:
    torch.manual_seed(0)
    return TinyUNet()


@pytest.fixture
def keys(unet: TinyUNet) -> dict[str, TargetLayer]:
    return key_map({"unet": unet, "text_encoder": TinyText(nested=False)})


@pytest.fixture
def make_unet() -> type[TinyUNet]:
    return TinyUNet


@pytest.fixture
def make_text() -> type[TinyText]:
    return TinyText


@pytest.fixture
def write(tmp_path: Path) -> WriteFile:
    def write_file(
        tensors: Mapping[str, Tensor],
        metadata: Mapping[str, str] | None = None,
        name: str = "net.safetensors",
    ) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        contiguous = {key: tensor.contiguous().clone() for key, tensor in tensors.items()}
        save_file(contiguous, str(path), dict(metadata) if metadata is not None else None)
        return path

    return write_file
