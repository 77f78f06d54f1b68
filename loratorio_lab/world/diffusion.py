"""Training of the base model and of the networks: v-prediction on latents."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer

from loratorio_lab.world.dataset import Pictures
from loratorio_lab.world.model import new_scheduler, tokenize

CAPTION_DROP = 0.1
"""How often a caption is left empty, so that the model learns the unconditional prediction too."""


@dataclass(frozen=True)
class Examples:
    """``latents`` [n, 8, 16, 16] and the token ids [n, 16] of their captions."""

    latents: Tensor
    tokens: Tensor

    @classmethod
    def of(cls, pictures: Pictures, latents: Tensor, tokenizer: CLIPTokenizer) -> Examples:
        """Examples of pictures whose ``latents`` are known already."""
        return cls(latents, tokenize(tokenizer, list(pictures.captions)))

    def batch(self, count: int, empty: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Random latents and their tokens; some tokens are replaced by ``empty`` [1, 16]."""
        rows = torch.randint(len(self.latents), (count,), generator=generator)
        dropped = torch.rand(count, generator=generator) < CAPTION_DROP
        return self.latents[rows], torch.where(dropped[:, None], empty, self.tokens[rows])


def noised(
    scheduler: DDIMScheduler, latents: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Latents at random steps: (noisy latents, timesteps, the v that the model should predict)."""
    noise = torch.randn(latents.shape, generator=generator)
    timesteps = torch.randint(scheduler.config.num_train_timesteps, (len(latents),), generator=generator)
    return (
        scheduler.add_noise(latents, noise, timesteps),
        timesteps,
        scheduler.get_velocity(latents, noise, timesteps),
    )


def train_base(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    examples: Examples,
    tokenizer: CLIPTokenizer,
    *,
    seed: int,
    steps: int,
    batch: int,
    learning_rate: float,
    report: Callable[[str], None],
) -> tuple[UNet2DConditionModel, CLIPTextModel]:
    """Train UNet and text encoder together, in place. Returned is the moving average of their weights."""
    generator = torch.Generator().manual_seed(seed)
    scheduler, empty = new_scheduler(), tokenize(tokenizer, [""])
    # A tenth faster on a CPU; put back in the end, since files hold tensors in the usual order.
    unet.to(memory_format=torch.channels_last)
    model = nn.ModuleList([unet, text_encoder]).train()
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, learning_rate, total_steps=steps, pct_start=0.08
    )
    smooth = 0.0
    for step in range(steps):
        latents, tokens = examples.batch(batch, empty, generator)
        noisy, timesteps, target = noised(scheduler, latents, generator)
        predicted = unet(noisy, timesteps, text_encoder(tokens).last_hidden_state).sample
        loss = nn.functional.mse_loss(predicted, target)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        decay = min(0.99, (step + 1) / (step + 10))
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
        smooth += (loss.item() - smooth) * max(0.02, 1 / (step + 1))
        if step % 50 == 49:
            report(f"base model: step {step + 1}/{steps}, loss {smooth:.4f}")
    trained_unet, trained_text_encoder = average
    trained_unet.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return trained_unet.eval(), trained_text_encoder.eval()
