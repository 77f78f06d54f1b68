"""UNets to measure on, with random weights: from the embedded model's shape to Stable Diffusion XL's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """A UNet and what it is given.

    Attributes:
        name: for the table.
        config: arguments of diffusers' UNet2DConditionModel.
        latent: side of the latent in its own pixels, at which the model is used.
        tokens: length of the text.
    """

    name: str
    config: Mapping[str, Any]
    latent: int
    tokens: int = 77

    @property
    def step(self) -> int:
        """Every side of a latent must be a multiple of this: each resolution halves it."""
        return int(2 ** (len(self.config["block_out_channels"]) - 1))

    @property
    def is_xl(self) -> bool:
        """Whether the model also takes a pooled text and sizes, as Stable Diffusion XL does."""
        return self.config.get("addition_embed_type") == "text_time"


def _config(
    channels: tuple[int, ...], attention: tuple[bool, ...], text: int, **others: Any
) -> Mapping[str, Any]:
    """Arguments of a UNet of Stable Diffusion's kind; `attention` says which resolutions have it."""
    downs = tuple("CrossAttnDownBlock2D" if has else "DownBlock2D" for has in attention)
    ups = tuple("CrossAttnUpBlock2D" if has else "UpBlock2D" for has in reversed(attention))
    return MappingProxyType(
        {
            "in_channels": 4,
            "out_channels": 4,
            "block_out_channels": channels,
            "down_block_types": downs,
            "up_block_types": ups,
            "cross_attention_dim": text,
            **others,
        }
    )


_EMBEDDED: Final = _config(
    (48, 64, 96),
    (False, True, True),
    64,
    in_channels=8,
    out_channels=8,
    layers_per_block=1,
    attention_head_dim=4,
    norm_num_groups=8,
)
_SMALL: Final = _config((128, 256, 512), (True, True, False), 256, layers_per_block=1, attention_head_dim=8)
_MEDIUM: Final = _config((160, 320, 640, 640), (True, True, True, False), 768, attention_head_dim=8)
# Both as in the unet/config.json of the published models.
_SD15: Final = _config((320, 640, 1280, 1280), (True, True, True, False), 768, attention_head_dim=8)
_SDXL: Final = _config(
    (320, 640, 1280),
    (False, True, True),
    2048,
    attention_head_dim=(5, 10, 20),
    transformer_layers_per_block=(1, 2, 10),
    use_linear_projection=True,
    addition_embed_type="text_time",
    addition_time_embed_dim=256,
    projection_class_embeddings_input_dim=2816,
)

SHAPES: Final[Mapping[str, Shape]] = MappingProxyType(
    {
        "embedded": Shape("embedded", _EMBEDDED, 16, tokens=16),
        "small": Shape("small", _SMALL, 32),
        "medium": Shape("medium", _MEDIUM, 32),
        "sd15": Shape("sd15", _SD15, 64),
        "sdxl": Shape("sdxl", _SDXL, 128),
    }
)


def build_unet(shape: Shape, device: torch.device, dtype: torch.dtype) -> UNet2DConditionModel:
    """A UNet with random weights (torch's first seed), for inference; on the device "meta" without any."""
    torch.manual_seed(0)
    with device:
        unet = UNet2DConditionModel(**shape.config)
    nn.Module.to(unet, dtype)  # diffusers' own warns of layers that this UNet does not have
    return unet.requires_grad_(False).eval()


def twin(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Another UNet with the same weights in the same memory, for those who wrap layers."""
    with torch.device("meta"):
        other = UNet2DConditionModel.from_config(unet.config)
    other.load_state_dict(unet.state_dict(), assign=True)
    return other.requires_grad_(False).eval()


@dataclass(frozen=True, eq=False)
class Rows:
    """Arguments of the UNet for some rows.

    Attributes:
        latents: [rows, C, H, W].
        text: [rows, tokens, width].
        added: pooled text [rows, 1280] and sizes [rows, 6] of Stable Diffusion XL, else nothing.
        timestep: one number, on the device.
    """

    latents: Tensor
    text: Tensor
    added: Mapping[str, Tensor]
    timestep: Tensor

    def __len__(self) -> int:
        return self.latents.shape[0]

    def select(self, index: Tensor | slice) -> Rows:
        """Some of the rows, in the order of `index`."""
        added = {name: value[index] for name, value in self.added.items()}
        return Rows(self.latents[index], self.text[index], added, self.timestep)

    def with_latents(self, latents: Tensor) -> Rows:
        """The same with other latents."""
        return Rows(latents, self.text, self.added, self.timestep)

    def predict(self, unet: Any) -> Tensor:
        """One call of the UNet, [rows, C, H, W]."""
        added = {"added_cond_kwargs": dict(self.added)} if self.added else {}
        predicted: Tensor = unet(
            self.latents, self.timestep, encoder_hidden_states=self.text, return_dict=False, **added
        )[0]
        return predicted


def random_rows(shape: Shape, latent: int, pictures: int, device: torch.device, dtype: torch.dtype) -> Rows:
    """A conditional row for each picture, then an unconditional one for each; [2 · pictures, ...]."""
    generator = torch.Generator().manual_seed(1)

    def draw(*size: int) -> Tensor:
        return torch.randn(size, generator=generator).to(device, dtype)

    latents = draw(pictures, shape.config["in_channels"], latent, latent).repeat(2, 1, 1, 1)
    text = draw(2 * pictures, shape.tokens, shape.config["cross_attention_dim"])
    added = {}
    if shape.is_xl:
        side = float(8 * latent)
        sizes = torch.tensor([side, side, 0.0, 0.0, side, side], device=device, dtype=dtype)
        pooled = shape.config["projection_class_embeddings_input_dim"] - 6 * 256
        added = {"text_embeds": draw(2 * pictures, pooled), "time_ids": sizes.repeat(2 * pictures, 1)}
    return Rows(latents, text, added, torch.tensor(500, device=device))
