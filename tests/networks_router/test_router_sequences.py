"""Where a picture's tokens are in the layers of transformers, by their names in Forge and Forge Neo."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st

from loratorio_ext.networks.router import Places, TokenLayout, UnplacedError
from loratorio_ext.networks.router.places import tokens_of

OF_LAYERS = {
    "text": [
        "double_blocks.1.txt_mod.lin",
        "double_blocks.1.txt_attn.norm.key_norm",
        "distilled_guidance_layer.in_proj",
        "transformer_blocks.3.attn.norm_added_q",
        "cap_embedder.1",
        "context_refiner.0.attention.qkv",
        "blocks.0.cross_attn.k_proj",
        "blocks.0.cross_attn.k_norm",
        "blocks.0.cross_attn.v_img",
        "blocks.0.cross_attn.norm_k",
        "text_embedding.0",
        "text_proj",
        "txtmlp.1",
    ],
    "image": [
        "double_blocks.1.img_attn.norm.key_norm",
        "transformer_blocks.3.attn.norm_q",
        "blocks.0.cross_attn.q_proj",
        "blocks.0.cross_attn.output_proj",
        "blocks.0.self_attn.k",
        "blocks.0.mlp.layer1",
        "blocks.0.ffn.2",
        "x_embedder",
        "img_in",
        "middle_block.1.transformer_blocks.0.attn1.to_k",
    ],
    "text first": [
        "single_blocks.0.norm.query_norm",
        "final_layer.linear",
        "layers.7.attention.qkv",
        "layers.7.feed_forward.w2",
        "layers.7.ffn_norm1",
        "blocks.5.attn.wq",
        "blocks.5.mlp.gate",
        "last.linear",
    ],
    "text last": [
        "noise_refiner.1.attention.qkv",
        "layers.2.self_attention.to_q",
        "layers.2.mlp.linear_fc2",
        "layers.2.adaLN_sa_ln",
        "final_linear",
    ],
}


@pytest.mark.parametrize(
    ("layer", "wanted"), [(layer, tokens) for tokens, layers in OF_LAYERS.items() for layer in layers]
)
def test_what_the_tokens_are(layer: str, wanted: str) -> None:
    assert tokens_of(f"diffusion_model.{layer}") == wanted


@given(
    st.tuples(st.integers(2, 12), st.integers(2, 12)),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 4, 32]),
    st.integers(0, 40),
    st.sampled_from(["single_blocks.0.linear1", "layers.2.self_attention.to_q"]),
)
@settings(max_examples=60, deadline=None)
def test_the_picture_in_a_sequence(
    size: tuple[int, int], patch: int, multiple: int, words: int, layer: str
) -> None:
    """Square by square; text and padding get the mean of the map."""
    maps = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(words))
    picture = [
        maps[0, 0, y : y + patch, x : x + patch].mean()
        for y in range(0, size[0], patch)
        for x in range(0, size[1], patch)
    ]
    padding = [maps.mean()] * (-len(picture) % multiple)
    text = [maps.mean()] * words
    wanted = [*text, *picture, *padding] if tokens_of(layer) == "text first" else [*picture, *padding, *text]
    places = Places([0, 1], maps.repeat(2, 1, 1, 1), TokenLayout(patch, multiple)).of([1])
    assert places is not None
    if len(wanted) > 1:
        found = places.at(f"diffusion_model.{layer}", torch.zeros(1, len(wanted), 3), -1, 0, (0,))
        torch.testing.assert_close(found.flatten(), torch.stack(wanted))
    if len(picture) + len(padding) > 2:
        too_few = torch.zeros(1, len(picture) + len(padding) - 1, 3)
        with pytest.raises(UnplacedError):
            places.at(f"diffusion_model.{layer}", too_few, -1, 0, (0,))


@pytest.mark.parametrize(
    "layer",
    ["single_blocks.0.modulation.lin", "double_blocks.0.img_mod.lin", "layers.0.adaLN_modulation.0"],
)
def test_one_token_has_no_place(layer: str) -> None:
    maps = torch.rand(1, 2, 6, 4)
    found = Places([0], maps).at(f"diffusion_model.{layer}", torch.zeros(1, 1, 5), -1, 0, (1, 0))
    torch.testing.assert_close(found.flatten(), maps.mean((2, 3))[0, [1, 0]])


@pytest.mark.parametrize(
    ("layer", "tokens"),
    [
        ("single_blocks.0.norm.query_norm", 7 + 24),
        ("double_blocks.0.img_attn.norm.key_norm", 24),
        ("transformer_blocks.0.attn.norm_q", 24),
    ],
)
@pytest.mark.parametrize("heads_first", [True, False])
def test_a_norm_in_every_head(layer: str, tokens: int, heads_first: bool) -> None:
    places = Places([0], torch.rand(1, 1, 8, 12))
    wanted = places.at(f"diffusion_model.{layer}", torch.zeros(1, tokens, 5), -1, 0, (0,))
    out = torch.zeros(1, 3, tokens, 5) if heads_first else torch.zeros(1, tokens, 3, 5)
    found = places.at(f"diffusion_model.{layer}", out, -1, 0, (0,)).expand(*out.shape[:3], 1)
    for head in range(3):
        assert torch.equal(found.select(1 if heads_first else 2, head), wanted)
