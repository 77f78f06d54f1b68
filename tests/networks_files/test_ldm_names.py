"""LDM names of UNet layers, against diffusers' own conversion of LDM checkpoints."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

from loratorio_ext.networks.files import key_map
from loratorio_ext.networks.files.keys import ldm_names

# The layouts of the published models (unet/config.json) with narrow blocks; names do not depend on widths.
SD1: dict[str, Any] = {"cross_attention_dim": 12, "attention_head_dim": 4}
SD2: dict[str, Any] = {**SD1, "use_linear_projection": True}
SDXL: dict[str, Any] = {
    **SD2,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 3),
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 24,
}
ODD: dict[str, Any] = {
    **SD1,
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D", "CrossAttnUpBlock2D"),
}


def unet_of(config: dict[str, Any]) -> UNet2DConditionModel:
    widths = (8, 16, 24, 24)[: len(config.get("down_block_types", (0,) * 4))]
    with torch.device("meta"):
        return UNet2DConditionModel(block_out_channels=widths, norm_num_groups=4, **config)


@pytest.mark.parametrize("config", [SD1, SD2, SDXL, ODD], ids=["sd1", "sd2", "sdxl", "odd"])
def test_names_agree_with_diffusers_conversion(config: dict[str, Any]) -> None:
    unet = unet_of(config)
    names = ldm_names([name for name, _ in unet.named_modules()])
    checkpoint: dict[str, torch.Tensor] = {}
    sent: dict[str, int] = {}
    for number, parameter in enumerate(unet.state_dict()):
        module, _, last = parameter.rpartition(".")
        assert module in names, parameter
        checkpoint[f"model.diffusion_model.{names[module]}.{last}"] = torch.tensor(number)
        sent[parameter] = number
    assert len(checkpoint) == len(sent)
    config_read = {**unet.config, "layers_per_block": config.get("layers_per_block", 2)}
    received = convert_ldm_unet_checkpoint(dict(checkpoint), config_read)
    assert {name: int(value) for name, value in received.items()} == sent


@pytest.mark.parametrize(
    ("config", "alias", "path"),
    [
        # From published kohya files.
        (SDXL, "lora_unet_input_blocks_4_1_proj_in", "down_blocks.1.attentions.0.proj_in"),
        (
            SDXL,
            "lora_unet_input_blocks_8_1_transformer_blocks_2_attn2_to_k",
            "down_blocks.2.attentions.1.transformer_blocks.2.attn2.to_k",
        ),
        (
            SDXL,
            "lora_unet_output_blocks_5_1_transformer_blocks_1_ff_net_0_proj",
            "up_blocks.1.attentions.2.transformer_blocks.1.ff.net.0.proj",
        ),
        (SDXL, "lora_unet_output_blocks_2_2_conv", "up_blocks.0.upsamplers.0.conv"),
        (SDXL, "lora_unet_label_emb_0_0", "add_embedding.linear_1"),
        (SD1, "lora_unet_input_blocks_3_0_op", "down_blocks.0.downsamplers.0.conv"),
        (SD1, "lora_unet_input_blocks_1_0_emb_layers_1", "down_blocks.0.resnets.0.time_emb_proj"),
        (
            SD1,
            "lora_unet_middle_block_1_transformer_blocks_0_attn1_to_out_0",
            "mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0",
        ),
        (SD1, "lora_unet_output_blocks_2_1_conv", "up_blocks.0.upsamplers.0.conv"),
        (SD1, "lora_unet_out_2", "conv_out"),
    ],
)
def test_known_aliases(config: dict[str, Any], alias: str, path: str) -> None:
    assert key_map({"unet": unet_of(config)})[alias].name == f"unet.{path}"


def test_names_that_are_no_unets() -> None:
    names = ["", "text_model.encoder", "up_blocks.x.resnets.0.conv1", "up_blocks.9999.resnets.0.conv1"]
    assert ldm_names(names) == ldm_names([]) == {}
