"""Tiny Stable Diffusion pipelines with random weights, made without anything from a network."""

from __future__ import annotations

import string
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from loratorio_ext.hosts.diffusers_host import Request

MAX_TOKENS = 16
WIDTH = 16
UNET = MappingProxyType(
    {
        "sample_size": 8,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "attention_head_dim": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
        "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    }
)


def make_tokenizer(pad_token: str = "<|endoftext|>") -> Any:
    letters = string.ascii_lowercase + string.digits + ",."
    words = ["<|startoftext|>", "<|endoftext|>", "!</w>", *letters, *(letter + "</w>" for letter in letters)]
    vocabulary = {word: index for index, word in enumerate(dict.fromkeys(words))}
    return CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=MAX_TOKENS, pad_token=pad_token)


def make_text_encoder(tokenizer: Any, *, projection: bool = False) -> Any:
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
        projection_dim=WIDTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config).eval()


def make_vae(**more: Any) -> Any:
    settings: dict[str, Any] = {
        "block_out_channels": (8, 16),
        "down_block_types": ("DownEncoderBlock2D",) * 2,
        "up_block_types": ("UpDecoderBlock2D",) * 2,
        "norm_num_groups": 4,
        "latent_channels": 4,
        "sample_size": 16,
    }
    return AutoencoderKL(**{**settings, **more}).eval()


def make_unet(cross_attention: int, **more: Any) -> Any:
    return UNet2DConditionModel(**{**UNET, "cross_attention_dim": cross_attention, **more}).eval()


def plain_scheduler(prediction: str = "epsilon", **more: Any) -> Any:
    settings: dict[str, Any] = {
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "prediction_type": prediction,
    }
    return DDIMScheduler(**{**settings, **more})


def make_sd(prediction: str = "epsilon") -> Any:
    torch.manual_seed(0)
    tokenizer = make_tokenizer()
    pipeline = StableDiffusionPipeline(
        vae=make_vae(),
        text_encoder=make_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=make_unet(WIDTH),
        scheduler=plain_scheduler(prediction),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def make_sdxl() -> Any:
    torch.manual_seed(0)
    tokenizer, tokenizer_2 = make_tokenizer(), make_tokenizer("!</w>")
    unet = make_unet(
        2 * WIDTH,
        addition_embed_type="text_time",
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + WIDTH,
        transformer_layers_per_block=(1, 2),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        use_linear_projection=True,
    )
    pipeline = StableDiffusionXLPipeline(
        vae=make_vae(),
        text_encoder=make_text_encoder(tokenizer),
        text_encoder_2=make_text_encoder(tokenizer_2, projection=True),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=unet,
        scheduler=plain_scheduler(),
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def kohya_tensors(
    component: nn.Module, prefix: str, layers: str, *, seed: int, rank: int = 2, size: float = 0.5
) -> dict[str, Tensor]:
    """A random low-rank network for the linear layers whose names hold `layers`, under kohya's key names."""
    generator = torch.Generator().manual_seed(seed)
    tensors: dict[str, Tensor] = {}
    for name, module in component.named_modules():
        if isinstance(module, nn.Linear) and layers in name:
            key = f"{prefix}_{name.replace('.', '_')}"
            down = torch.randn(rank, module.in_features, generator=generator)
            up = torch.randn(module.out_features, rank, generator=generator)
            tensors[f"{key}.lora_down.weight"] = size * down / module.in_features**0.5
            tensors[f"{key}.lora_up.weight"] = size * up / rank**0.5
            tensors[f"{key}.alpha"] = torch.tensor(float(rank) / 2)
    assert tensors, "the test's own network touches no layer"
    return tensors


def write_network(pipeline: Any, path: Path, *, seed: int, unet: bool = True, text: bool = True) -> Path:
    parts = [(pipeline.unet, "lora_unet", "attn")] if unet else []
    if text and hasattr(pipeline, "text_encoder_2"):
        parts.append((pipeline.text_encoder, "lora_te1_text_model", "self_attn"))
        parts.append((pipeline.text_encoder_2.text_model, "lora_te2_text_model", "self_attn"))
    elif text:
        parts.append((pipeline.text_encoder, "lora_te_text_model", "self_attn"))
    tensors: dict[str, Tensor] = {}
    for number, (component, prefix, layers) in enumerate(parts, seed + (not unet)):
        tensors |= kohya_tensors(component, prefix, layers, seed=number)
    save_file(tensors, path)
    return path


def write_networks(pipeline: Any, folder: Path, names: Iterable[str], first_seed: int = 0) -> None:
    """A network of each name, with seeds that are ten apart."""
    for number, name in enumerate(names):
        write_network(pipeline, folder / f"{name}.safetensors", seed=first_seed + 10 * number)


def small(prompts: Sequence[str], *more: str, **options: Any) -> Request:
    """A request for small pictures, two steps each."""
    return Request(prompts, *more, **{"steps": 2, "width": 16, "height": 16, **options})


PIPELINES: dict[str, Callable[[], Any]] = {
    "sd": make_sd,
    "sd_v": lambda: make_sd("v_prediction"),
    "sdxl": make_sdxl,
}
