"""Small pictures of latents that are still being denoised, at next to no cost."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from loratorio_ext.hosts.diffusers_host.generate import decode

# Samples that the colors are told from, along each side, and the latent pixels of each.
_SAMPLES, _SIDE = 8, 4
_LARGEST: Final = 256  # pixels


def colors_of(pipeline: Any) -> Tensor:
    """[C + 1, 3]: RGB in 0 … 255 as a linear function of a latent pixel, its last row the constant.

    Least squares over squares of one color each that the VAE has decoded, for whatever VAE it is.
    """
    channels = pipeline.vae.config.latent_channels
    samples = torch.randn(1, channels, _SAMPLES, _SAMPLES, generator=torch.Generator().manual_seed(0))
    squares = samples.repeat_interleave(_SIDE, 2).repeat_interleave(_SIDE, 3)
    device = next(pipeline.vae.parameters()).device
    [picture] = decode(pipeline, squares.to(device))
    seen = np.asarray(picture.resize((_SAMPLES, _SAMPLES), Image.Resampling.BOX), dtype=np.float32)
    known = torch.cat([samples[0].flatten(1).T, torch.ones(_SAMPLES**2, 1)], 1)
    colors: Tensor = torch.linalg.lstsq(known, torch.from_numpy(seen).reshape(-1, 3)).solution
    return colors


def sketch(colors: Tensor, denoised: Tensor) -> Image.Image:
    """The picture of denoised latents [C, H, W], at most 256 pixels wide and high."""
    pixels = denoised.float().cpu().movedim(0, -1)
    rgb = (pixels @ colors[:-1] + colors[-1]).nan_to_num().clamp(0, 255).to(torch.uint8)
    image = Image.fromarray(rgb.numpy())
    factor = _LARGEST / max(image.size)
    size = round(image.width * factor), round(image.height * factor)
    return image.resize(size, Image.Resampling.BICUBIC)
