"""The embedded world's latent space: pictures of 3 × 64 × 64 become latents of 8 × 16 × 16."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers import AutoencoderTiny
from torch import Tensor, nn

LATENT_CHANNELS = 8
LATENT_SIZE = 16
LATENT_NOISE = 0.1
"""Noise added to latents in training, as a share of their spread: the decoder learns to clean up."""


def new_autoencoder() -> AutoencoderTiny:
    """An untrained autoencoder of 8 latent channels that makes pictures four times smaller."""
    return AutoencoderTiny(
        encoder_block_out_channels=(24, 24, 24),
        decoder_block_out_channels=(24, 24, 24),
        num_encoder_blocks=(0, 1, 1),
        num_decoder_blocks=(1, 1, 1),
        latent_channels=LATENT_CHANNELS,
    )


@torch.no_grad()
def encode(autoencoder: AutoencoderTiny, images: Tensor) -> Tensor:
    """Pictures uint8 [n, 3, 64, 64] → latents [n, 8, 16, 16] of unit spread."""
    scale = float(autoencoder.config.scaling_factor)
    parts = [autoencoder.encode(part.float() / 127.5 - 1).latents * scale for part in images.split(64)]
    return torch.cat(parts)


def train_autoencoder(
    images: Tensor, *, seed: int, steps: int, batch: int, report: Callable[[str], None]
) -> AutoencoderTiny:
    """Train to reproduce ``images`` (uint8 [n, 3, 64, 64]) through noisy latents."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    # A third faster on a CPU; put back in the end, since files hold tensors in the usual order.
    autoencoder = new_autoencoder().train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(autoencoder.parameters(), lr=3e-3, weight_decay=1e-4, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    for step in range(steps):
        rows = torch.randint(len(images), (batch,), generator=generator)
        pictures = (images[rows].float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)
        latents = autoencoder.encode(pictures).latents
        decoded = autoencoder.decode(
            latents + LATENT_NOISE * torch.randn(latents.shape, generator=generator)
        ).sample
        loss = nn.functional.mse_loss(decoded, pictures) + 0.2 * nn.functional.l1_loss(decoded, pictures)
        center, width = latents.mean((0, 2, 3)), latents.var((0, 2, 3))
        loss = loss + 3e-3 * (center.square() + (width - 1).square()).mean()  # like the noise they will meet
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(autoencoder.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            report(f"autoencoder: step {step + 1}/{steps}, loss {loss.item():.4f}")
    autoencoder.eval().to(memory_format=torch.contiguous_format)
    with torch.no_grad():
        spread = autoencoder.encode(images[:512].float() / 127.5 - 1).latents.std().item()
    autoencoder.register_to_config(scaling_factor=1 / spread)
    return autoencoder
