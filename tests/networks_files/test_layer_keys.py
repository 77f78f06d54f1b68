"""Keys of layers: both styles, their dialects, and hostile keys."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from loratorio_ext.networks.files import TargetLayer, key_map
from loratorio_ext.networks.files.keys import split_key

Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
LDM_Q = "input_blocks.1.1.transformer_blocks.0.attn1.to_q"
OUT = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_out.0"
KOHYA_Q = f"lora_unet_{Q.replace('.', '_')}"
TE = "encoder.layers.0.self_attn.q_proj"
PROCESSOR = "text_encoder.text_model.encoder.layers.0.self_attn"
TE_OUT = "encoder.layers.0.self_attn.out_proj"
# Of tools and components in any order: peft around a pipeline or a component, torch.compile, DataParallel.
UNET_PREFIXES = [
    "".join(parts)
    for number in (1, 2, 3)
    for parts in itertools.permutations(("unet.", "base_model.model.", "_orig_mod.", "module."), number)
]
# OMI's, and ComfyUI's and LDM's names of CLIP-L and OpenCLIP-H.
TEXT_PREFIXES = [
    *("clip_l.", "text_encoders.clip_l.transformer.", "base_model.model.text_encoders.clip_l.transformer."),
    *("text_encoders.clip_h.transformer.", "cond_stage_model.transformer.", "text_encoder.base_model.model."),
    *(
        "base_model.model.text_encoder._orig_mod.",
        "conditioner.embedders.0.transformer.",
        "clip_l.transformer.",
    ),
]


@pytest.mark.parametrize(
    ("key", "layer", "part"),
    [
        (f"{KOHYA_Q}.lora_down.weight", f"unet.{Q}", "down"),
        (f"{KOHYA_Q}.alpha", f"unet.{Q}", "alpha"),
        (f"lora_unet_{OUT.replace('.', '_')}.lora_up.weight", f"unet.{OUT}", "up"),
        (f"lora_unet_{LDM_Q.replace('.', '_')}.lora_mid.weight", f"unet.{Q}", "mid"),
        (f"lycoris_{Q.replace('.', '_')}.lokr_w1", f"unet.{Q}", "lokr_w1"),
        (f"oft_unet_{Q.replace('.', '_')}.oft_blocks", f"unet.{Q}", "oft_blocks"),
        (f"{KOHYA_Q}.a1.weight", f"unet.{Q}", "a1.weight"),
        (f"{KOHYA_Q}.diff_b", f"unet.{Q}", "diff_b"),
        (f"unet.{Q}.lora_A.weight", f"unet.{Q}", "down"),
        (f"unet.{Q}.lora_B.default.weight", f"unet.{Q}", "up"),
        (f"unet.{Q}.lora.down.weight", f"unet.{Q}", "down"),
        (f"unet.{Q}.lora_linear_layer.up.weight", f"unet.{Q}", "up"),
        (f"base_model.model.unet.{Q}.lora_A.weight", f"unet.{Q}", "down"),
        (f"base_model.model.{Q}.lora_A.weight", f"unet.{Q}", "down"),
        (f"{Q}.lora_B.weight", f"unet.{Q}", "up"),
        (f"unet.{Q.replace('.to_q', '.processor.to_q_lora')}.down.weight", f"unet.{Q}", "down"),
        (f"{OUT.replace('.to_out.0', '.processor.to_out_lora')}.up.weight", f"unet.{OUT}", "up"),
        (f"diffusion_model.{LDM_Q}.lora_A.weight", f"unet.{Q}", "down"),
        ("unet.conv_in.alpha", "unet.conv_in", "alpha"),
        (f"lora_te_text_model_{TE.replace('.', '_')}.lora_down.weight", f"text_encoder.{TE}", "down"),
        (f"lora_te1_text_model_{TE.replace('.', '_')}.lora_down.weight", f"text_encoder.{TE}", "down"),
        (f"text_encoder.text_model.{TE}.lora_linear_layer.down.weight", f"text_encoder.{TE}", "down"),
        (f"text_encoder.{TE}.lora_A.weight", f"text_encoder.{TE}", "down"),
        (f"base_model.model.text_model.{TE}.lora_A.weight", f"text_encoder.{TE}", "down"),
        (f"{PROCESSOR}.to_q_lora.up.weight", f"text_encoder.{TE}", "up"),
        (f"{PROCESSOR}.to_out_lora.up.weight", f"text_encoder.{TE_OUT}", "up"),
        *((f"{prefix}{Q}.lora_A.weight", f"unet.{Q}", "down") for prefix in UNET_PREFIXES),
        (f"base_model.model.{KOHYA_Q}.lora_down.weight", f"unet.{Q}", "down"),
        *((f"{prefix}{TE}.lora_up.weight", f"text_encoder.{TE}", "up") for prefix in TEXT_PREFIXES),
        *((f"{prefix}text_model.{TE}.alpha", f"text_encoder.{TE}", "alpha") for prefix in TEXT_PREFIXES),
    ],
)
@pytest.mark.parametrize("nested", [True, False])
def test_dialects(key: str, layer: str, part: str, nested: bool, unet: nn.Module, make_text: Any) -> None:
    keys = key_map({"unet": unet, "text_encoder": make_text(nested)})
    layers, named = split_key(key)
    assert named == part
    found = next(keys[name] for name in layers if name in keys)
    if nested:
        layer = layer.replace("text_encoder.", "text_encoder.text_model.")
    assert found.name == layer


def test_two_text_encoders(unet: nn.Module, make_text: Any) -> None:
    keys = key_map({"unet": unet, "text_encoder": make_text(False), "text_encoder_2": make_text(True)})
    end = "text_model_encoder_layers_0_self_attn_q_proj"
    assert keys[f"lora_te1_{end}"].name == f"text_encoder.{TE}"
    assert keys[f"lora_te2_{end}"].name == f"text_encoder_2.text_model.{TE}"
    assert keys[f"text_encoder_2.text_model.{TE}"].name == f"text_encoder_2.text_model.{TE}"
    assert f"lora_te_{end}" not in keys
    for before in ("clip_{}.", "text_encoders.clip_{}.transformer."):
        for clip, layer in (("l", f"text_encoder.{TE}"), ("g", f"text_encoder_2.text_model.{TE}")):
            layers, part = split_key(f"{before.format(clip)}text_model.{TE}.lora_down.weight")
            assert part == "down" and {keys[name].name for name in layers if name in keys} == {layer}


def test_shapes_and_kinds(keys: dict[str, TargetLayer]) -> None:
    assert keys["unet.conv_in"] == TargetLayer("unet.conv_in", None, (8, 4, 3, 3))
    assert keys["lora_unet_down_blocks_0_attentions_0_norm"].is_norm
    assert keys["lora_unet_down_blocks_0_resnets_0_time_emb_proj"].shape == (16, 6)
    assert not any("embeddings" in key for key in keys)


class ForeignLinear(nn.Module):
    """A linear layer that is no torch.nn.Linear and holds its weight packed."""

    def __init__(self) -> None:
        super().__init__()
        self.in_features, self.out_features = 6, 4
        self.weight = nn.Parameter(torch.zeros(12, 1, dtype=torch.uint8), requires_grad=False)


def test_layers_of_other_classes_and_packed_weights() -> None:
    model = nn.Module()
    model.conv_in = ForeignLinear()
    assert key_map({"unet": model})["unet.conv_in"].shape == (4, 6)


def test_keys_of_a_host_that_has_only_kohya_names() -> None:
    assert KOHYA_Q in split_key(f"unet.{Q}.lora_A.weight")[0]
    assert "lora_te_encoder_x" in split_key("text_encoder.encoder.x.lora_A.weight")[0]


def test_unknown_component(unet: nn.Module) -> None:
    with pytest.raises(ValueError, match="'vae'.*unet, text_encoder"):
        key_map({"vae": unet})


@settings(deadline=None, max_examples=200)
@given(
    st.text(max_size=60)
    | st.lists(st.sampled_from(["lora_", ".", "unet", "weight", "lora_A", "_lora", "alpha", "\x00"])).map(
        "".join
    )
)
def test_any_text_is_taken_apart(key: str) -> None:
    layers, _ = split_key(key)
    assert layers and all(isinstance(name, str) for name in layers)


@pytest.mark.parametrize(
    ("before", "component"),
    [
        *(("model.unet.", "unet"), ("pipe.unet.", "unet"), ("pipe.unet.module.", "unet")),
        *(("te1.", "text_encoder"), ("text_encoder_1.", "text_encoder"), ("te2.", "text_encoder_2")),
        *(("text_encoder.transformer.", "text_encoder"), ("text_encoder_2.transformer.", "text_encoder_2")),
        *(("pipe.text_encoder.", "text_encoder"), ("pipe.text_encoder_2.", "text_encoder_2")),
    ],
)
def test_other_names_of_components(before: str, component: str) -> None:
    layers, part = split_key(f"{before}a.b.lora_A.weight")
    assert (layers[0], part) == (f"{component}.a.b", "down")
