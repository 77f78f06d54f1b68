"""Tiny pipelines with random weights for every family, and adapters for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    WanPipeline,
    WanTransformer3DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from peft import LoraConfig
from torch import Tensor

from tests.hosts_diffusers.pipelines import make_sd, make_sdxl

STEPS = 6


@dataclass(frozen=True)
class Model:
    """A pipeline and how it is called; call: more arguments of the call; targets: layers of its adapters."""

    pipeline: Any
    call: Callable[[], Mapping[str, Any]]
    targets: tuple[str, ...]

    @property
    def denoiser(self) -> Any:
        return getattr(self.pipeline, "unet", None) or self.pipeline.transformer

    def load(self, name: str, seed: int, **more: Any) -> None:
        """Add an adapter with random weights, which changes the picture visibly."""
        torch.manual_seed(seed)
        config = {"r": 4, "lora_alpha": 6, "target_modules": list(self.targets), "init_lora_weights": False}
        self.denoiser.add_adapter(LoraConfig(**{**config, **more}), adapter_name=name)

    def draw(self, **more: Any) -> Tensor:
        """Latents of pictures with a fixed seed."""
        arguments = {
            "num_inference_steps": STEPS,
            "generator": torch.Generator().manual_seed(3),
            "output_type": "latent",
            **self.call(),
        }
        found = self.pipeline(**{**arguments, **more})
        return getattr(found, "images", None) if hasattr(found, "images") else found.frames


def noise(*shape: int, seed: int = 5) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _quiet(pipeline: Any) -> Any:
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


UNET_TARGETS = ("to_q", "to_v", "conv1", "proj_in", "time_emb_proj")
WORDS = MappingProxyType({"prompt": "a, red", "negative_prompt": "b", "guidance_scale": 4.0})


def sd() -> Model:
    return Model(make_sd(), lambda: {**WORDS, "num_images_per_prompt": 2}, UNET_TARGETS)


def sd_v() -> Model:
    return Model(make_sd("v_prediction"), lambda: WORDS, UNET_TARGETS)


def sdxl() -> Model:
    return Model(make_sdxl(), lambda: {**WORDS, "height": 16, "width": 24}, UNET_TARGETS)


def sd3() -> Model:
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=16,
        caption_projection_dim=16,
        pooled_projection_dim=12,
        out_channels=4,
        pos_embed_max_size=8,
    ).eval()
    none = dict.fromkeys(
        ("vae", *(f"{part}{n}" for part in ("text_encoder", "tokenizer") for n in ("", "_2", "_3")))
    )
    pipeline = StableDiffusion3Pipeline(
        transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(), **none
    )
    call = {
        "prompt_embeds": noise(2, 5, 16),
        "pooled_prompt_embeds": noise(2, 12, seed=6),
        "negative_prompt_embeds": noise(2, 5, 16, seed=7),
        "negative_pooled_prompt_embeds": noise(2, 12, seed=8),
        "guidance_scale": 4.0,
        "height": 64,
        "width": 48,
    }
    return Model(_quiet(pipeline), lambda: call, ("to_q", "add_k_proj", "proj", "to_add_out", "linear"))


def flux() -> Model:
    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=16,
        num_layers=1,
        num_single_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        pooled_projection_dim=12,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    ).eval()
    none = dict.fromkeys(("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    pipeline = FluxPipeline(transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(), **none)
    call = {
        "prompt_embeds": noise(2, 5, 16),
        "pooled_prompt_embeds": noise(2, 12, seed=6),
        "height": 64,
        "width": 48,
    }
    targets = ("to_q", "add_k_proj", "proj_mlp", "proj_out", "x_embedder", "context_embedder")
    return Model(_quiet(pipeline), lambda: call, targets)


def flux_guided() -> Model:
    """With true guidance: a second call for the unconditional."""
    model = flux()
    negative = {
        "negative_prompt_embeds": noise(2, 5, 16, seed=7),
        "negative_pooled_prompt_embeds": noise(2, 12, seed=8),
        "true_cfg_scale": 3.0,
    }
    return Model(model.pipeline, lambda: {**model.call(), **negative}, model.targets)


def qwen() -> Model:
    torch.manual_seed(0)
    transformer = QwenImageTransformer2DModel(
        patch_size=2,
        in_channels=16,
        out_channels=4,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=16,
        axes_dims_rope=(4, 4, 8),
    ).eval()
    none = dict.fromkeys(("vae", "text_encoder", "tokenizer"))
    pipeline = QwenImagePipeline(transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(), **none)
    call = {
        "prompt_embeds": noise(2, 5, 16),
        "prompt_embeds_mask": torch.ones(2, 5, dtype=torch.int64),
        "negative_prompt_embeds": noise(2, 7, 16, seed=7),
        "negative_prompt_embeds_mask": torch.ones(2, 7, dtype=torch.int64),
        "true_cfg_scale": 3.0,
        "height": 64,
        "width": 48,
    }
    return Model(_quiet(pipeline), lambda: call, ("to_q", "add_k_proj", "img_in", "txt_in", "img_mod.1"))


def z_image() -> Model:
    torch.manual_seed(0)
    transformer = ZImageTransformer2DModel(
        in_channels=4,
        dim=32,
        n_layers=2,
        n_refiner_layers=1,
        n_heads=2,
        n_kv_heads=2,
        cap_feat_dim=16,
        axes_dims=[4, 4, 8],
        axes_lens=[128, 32, 32],
    ).eval()
    for token in (transformer.x_pad_token, transformer.cap_pad_token):
        torch.nn.init.normal_(token)
    none = dict.fromkeys(("vae", "text_encoder", "tokenizer"))
    pipeline = ZImagePipeline(transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(), **none)

    def call() -> Mapping[str, Any]:
        return {
            "prompt_embeds": [noise(5, 16), noise(40, 16)],
            "negative_prompt_embeds": [noise(3, 16, seed=7), noise(3, 16, seed=7)],
            "guidance_scale": 3.0,
            "height": 128,
            "width": 64,
        }

    return Model(_quiet(pipeline), call, ("to_q", "to_v", "w1", "context_refiner.0.feed_forward.w2"))


def wan() -> Model:
    torch.manual_seed(0)
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=2,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=16,
        freq_dim=8,
        ffn_dim=32,
        num_layers=2,
    ).eval()
    none = dict.fromkeys(("vae", "text_encoder", "tokenizer"))
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    pipeline = WanPipeline(transformer=transformer, scheduler=scheduler, **none)
    call = {
        "prompt_embeds": noise(1, 6, 16),
        "negative_prompt_embeds": noise(1, 6, 16, seed=7),
        "guidance_scale": 3.0,
        "num_frames": 1,
        "height": 64,
        "width": 48,
    }
    return Model(_quiet(pipeline), lambda: call, ("to_q", "to_v", "ffn.net.0.proj"))


MODELS = MappingProxyType(
    {make.__name__: make for make in (sd, sd_v, sdxl, sd3, flux, flux_guided, qwen, z_image, wan)}
)
