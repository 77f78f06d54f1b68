"""The embedded base model: Stable Diffusion's parts and file layout, at a hundredth of the size."""

from __future__ import annotations

import string
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from loratorio_lab.world.autoencoder import LATENT_CHANNELS, LATENT_SIZE
from loratorio_lab.world.concepts import vocabulary

TEXT_WIDTH = 64
MAX_TOKENS = 16
START, END = "<|startoftext|>", "<|endoftext|>"


def new_tokenizer() -> CLIPTokenizer:
    """A CLIP tokenizer whose every word is one token; other words fall apart into letters."""
    letters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
    tokens = dict.fromkeys([*letters, *(letter + "</w>" for letter in letters)])
    merges: dict[tuple[str, str], None] = {}
    for word in vocabulary():
        symbols = [*word[:-1], word[-1] + "</w>"]
        for left, right in _merge_order(symbols):
            merges[left, right] = None
            tokens[left + right] = None
    tokens |= dict.fromkeys((START, END))
    ids = {token: index for index, token in enumerate(tokens)}
    tokenizer = CLIPTokenizer(ids, list(merges), model_max_length=MAX_TOKENS)
    for word in vocabulary():
        count = len(tokenizer(word).input_ids) - 2
        if count != 1:
            raise ValueError(f"the word {word!r} takes {count} tokens; the merges of two words collide")
    return tokenizer


def _merge_order(symbols: list[str]) -> list[tuple[str, str]]:
    """Join a word from its end: every step holds the end of the word, so words cannot mix their merges."""
    pairs = []
    tail = symbols[-1]
    for symbol in reversed(symbols[:-1]):
        pairs.append((symbol, tail))
        tail = symbol + tail
    return pairs


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """An untrained text encoder for the tokenizer: [n, 16] token ids → [n, 16, 64]."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            projection_dim=TEXT_WIDTH,
        )
    )


def new_unet() -> UNet2DConditionModel:
    """An untrained UNet for latents [n, 8, 16, 16] and text [n, 16, 64].

    Like Stable Diffusion XL it attends from the second level down: attention over all 256 places of the
    first one would take half of the time.
    """
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=(48, 64, 96),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=4,
        norm_num_groups=8,
        cross_attention_dim=TEXT_WIDTH,
    )


def new_scheduler() -> DDIMScheduler:
    """Stable Diffusion's schedule with v-prediction: noise prediction learns far more slowly at this size."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="leading",
    )


def assemble(
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    autoencoder: AutoencoderTiny,
) -> StableDiffusionPipeline:
    """Put the parts together as diffusers knows them, without a safety checker."""
    pipeline = StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_model(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Save in half precision: the pictures do not change and the files are half as large."""
    for part in (pipeline.unet, pipeline.text_encoder, pipeline.vae):
        part.half()
    pipeline.save_pretrained(folder, safe_serialization=True)
    for part in (pipeline.unet, pipeline.text_encoder, pipeline.vae):
        part.float()


def load_model(folder: Path) -> StableDiffusionPipeline:
    """Load what :func:`save_model` saved, in float32."""
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, local_files_only=True)
    pipeline.to(torch.float32)  # not all libraries make full precision of half precision files
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> Tensor:
    """Token ids int64 [n, 16], as the pipeline makes them."""
    encoded = tokenizer(
        captions, padding="max_length", truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
    )
    ids: Tensor = encoded.input_ids
    return ids
