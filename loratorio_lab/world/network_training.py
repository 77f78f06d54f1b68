"""Training of one network of the embedded world, and writing it as a network file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from loratorio_lab.world.concepts import FACTOR_OF_CONCEPT
from loratorio_lab.world.diffusion import Examples, noised
from loratorio_lab.world.model import new_scheduler, tokenize

RANK = 8
_FIGURES = "loratorio.figures"
_LINEAR = r".*(to_q|to_k|to_v|to_out\.0|proj_in|proj_out|ff\.net\.0\.proj|ff\.net\.2|time_emb_proj)"
_CONVOLUTION = r".*(resnets\.\d+\.conv[12]|conv_shortcut|conv_in|conv_out|samplers\.0\.conv)"


def add_network(unet: UNet2DConditionModel) -> list[nn.Parameter]:
    """Add an untrained network to the UNet; only its own parameters are trained."""
    unet.requires_grad_(False)
    unet.add_adapter(
        LoraConfig(
            r=RANK,
            lora_alpha=RANK,
            target_modules=rf"({_LINEAR})|({_CONVOLUTION})",
        )
    )
    return [parameter for parameter in unet.parameters() if parameter.requires_grad]


def train_network(
    pipeline: StableDiffusionPipeline,
    parameters: list[nn.Parameter],
    own: Examples,
    common: Examples,
    *,
    seed: int,
    steps: int,
    batch: int,
    learning_rate: float,
    report: Callable[[str], None],
) -> None:
    """Train the UNet's network on ``own`` pictures, and keep it quiet on ``common`` ones.

    A third of every batch are common pictures with common captions. There the target is what the base model
    itself predicts, so the network learns to say nothing where its trigger word is missing.
    """
    unet, scheduler = pipeline.unet, new_scheduler()
    generator = torch.Generator().manual_seed(seed)
    empty = tokenize(pipeline.tokenizer, [""])
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    quiet = batch - batch // 3  # from this row of a batch on, the network should keep quiet
    unet.train()
    smooth_own = smooth_common = 0.0
    for step in range(steps):
        drawn = own.batch(quiet, empty, generator), common.batch(batch - quiet, empty, generator)
        latents, tokens = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        noisy, timesteps, target = noised(scheduler, latents, generator)
        with torch.no_grad():
            text = pipeline.text_encoder(tokens).last_hidden_state
            unet.disable_adapters()
            target[quiet:] = unet(noisy[quiet:], timesteps[quiet:], text[quiet:]).sample
            unet.enable_adapters()
        difference = (unet(noisy, timesteps, text).sample - target).square().mean((1, 2, 3))
        loss_own, loss_common = difference[:quiet].mean(), difference[quiet:].mean()
        optimizer.zero_grad(set_to_none=True)
        (loss_own + loss_common).backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        smooth_own += (loss_own.item() - smooth_own) * max(0.03, 1 / (step + 1))
        smooth_common += (loss_common.item() - smooth_common) * max(0.03, 1 / (step + 1))
        if step % 50 == 49:
            report(f"step {step + 1}/{steps}, loss {smooth_own:.4f}, beside its domain {smooth_common:.5f}")
    unet.eval()


def save_network(unet: UNet2DConditionModel, path: Path, concept: str, figures: Mapping[str, Any]) -> None:
    """Write the UNet's network with kohya's key names, in half precision, its figures in the metadata."""
    tensors: dict[str, Tensor] = {}
    for key, tensor in get_peft_model_state_dict(unet).items():
        module, part = key.removesuffix(".weight").rsplit(".", 1)
        name = "lora_unet_" + module.replace(".", "_")
        direction = {"lora_A": "lora_down", "lora_B": "lora_up"}[part]
        tensors[f"{name}.{direction}.weight"] = tensor.detach().half().contiguous()
        if direction == "lora_down":
            tensors[f"{name}.alpha"] = torch.tensor(float(tensor.shape[0]), dtype=torch.float16)
    metadata = {
        "ss_output_name": concept,
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(RANK),
        "ss_network_alpha": str(RANK),
        "modelspec.title": f"{concept} ({FACTOR_OF_CONCEPT[concept].name})",
        "modelspec.trigger_phrase": concept,
        _FIGURES: json.dumps(dict(figures)),
    }
    unfinished = path.with_suffix(".part")
    save_file(tensors, unfinished, metadata)
    unfinished.replace(path)


def read_figures(path: Path) -> dict[str, Any]:
    """The figures that :func:`save_network` wrote with a network."""
    with safe_open(path, "pt") as file:
        figures: dict[str, Any] = json.loads(file.metadata()[_FIGURES])
    return figures
