"""A file for another model is refused by that model's name, in every layout."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor, nn

from loratorio_ext.networks.files import NetworkFileError, key_map, load_network
from loratorio_ext.networks.files.architectures import other_architecture
from tests.hosts_diffusers.pipelines import make_unet
from tests.networks_files.test_refused_files import lora

Shapes = Mapping[str, tuple[int, ...]]

# The model in diffusers, the layers that trainers touch, and what a file of it is called.
MODELS = [
    ("FluxTransformer2DModel", "Flux"),
    ("Flux2Transformer2DModel", "Flux.2"),
    ("SD3Transformer2DModel", "Stable Diffusion 3"),
    ("QwenImageTransformer2DModel", "Qwen-Image"),
    ("ZImageTransformer2DModel", "Z-Image"),
    ("Lumina2Transformer2DModel", "Lumina 2"),
    ("ChromaTransformer2DModel", "Chroma"),
    ("CosmosTransformer3DModel", "Cosmos"),
    ("WanTransformer3DModel", "Wan"),
    ("HunyuanVideoTransformer3DModel", "HunyuanVideo"),
    ("LTXVideoTransformer3DModel", "LTX-Video"),
    ("PixArtTransformer2DModel", "PixArt"),
    ("StableCascadeUNet", "Stable Cascade"),
]


def layers_of(model: str) -> dict[str, tuple[int, int]]:
    """Path → (outputs, inputs) of all linear layers of a whole model, whose weights are never made."""
    options = {"pos_embed_max_size": 96} if model.startswith("SD3") else {}
    constructor = getattr(diffusers, model)
    known = inspect.signature(constructor.__init__).parameters
    with torch.device("meta"):
        module = constructor(**{name: value for name, value in options.items() if name in known})
    linear = {name: each for name, each in module.named_modules() if isinstance(each, nn.Linear)}
    return {name: (each.out_features, each.in_features) for name, each in linear.items()}


def shapes_in(layout: str, layers: Mapping[str, tuple[int, int]]) -> Shapes:
    """Keys and shapes of a LoRA of rank 4 for these layers."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path, (outputs, inputs) in layers.items():
        if layout in ("diffusers", "comfy", "peft"):
            before = {"diffusers": "transformer.", "comfy": "diffusion_model.", "peft": "base_model.model."}[
                layout
            ]
            shapes |= {
                f"{before}{path}.lora_A.weight": (4, inputs),
                f"{before}{path}.lora_B.weight": (outputs, 4),
            }
        else:
            key = f"{layout}{path.replace('.', '_')}"
            shapes |= {
                f"{key}.lora_down.weight": (4, inputs),
                f"{key}.lora_up.weight": (outputs, 4),
                f"{key}.alpha": (),
            }
    return shapes


LAYOUTS = ["diffusers", "comfy", "peft", "lora_unet_", "lora_transformer_", "lycoris_"]


@pytest.mark.parametrize(("model", "name"), MODELS)
def test_models_of_diffusers_in_every_layout(model: str, name: str) -> None:
    layers = layers_of(model)
    # What most trainers touch is the attention.
    attention = {path: each for path, each in layers.items() if ".attn" in path or ".attention." in path}
    assert len(attention) > 20
    for touched in (layers, attention):
        for layout in LAYOUTS:
            told = other_architecture(shapes_in(layout, touched), {})
            assert told is not None and name in told, (layout, told)


# Names of the original repositories, as ComfyUI and the kohya style keep them: layers, (outputs, inputs).
ORIGINAL = [
    ("Flux", {"double_blocks.0.img_attn.qkv": (9216, 3072), "double_blocks.0.img_mlp.0": (12288, 3072)}),
    ("Flux", {"single_blocks.37.linear1": (21504, 3072), "single_blocks.37.modulation.lin": (9216, 3072)}),
    ("Flux.2", {"double_blocks.0.img_attn.qkv": (18432, 6144)}),
    ("Flux.2", {"single_blocks.19.linear1": (27648, 3072)}),
    ("Flux.2", {"single_blocks.47.linear2": (6144, 24576), "single_blocks.47.linear1": (55296, 6144)}),
    ("Chroma", {"distilled_guidance_layer.in_proj": (5120, 64), "double_blocks.0.img_mlp.2": (3072, 12288)}),
    ("Stable Diffusion 3", {"joint_blocks.0.context_block.attn.qkv": (4608, 1536)}),
    ("HunyuanVideo", {"double_blocks.0.img_mod.linear": (18432, 3072)}),
    ("HunyuanVideo", {"double_blocks.19.img_attn_qkv": (9216, 3072)}),
    ("HunyuanImage", {"double_blocks.0.img_attn_qkv": (10752, 3584)}),
    ("Z-Image", {"layers.0.attention.qkv": (11520, 3840), "layers.0.feed_forward.w1": (10240, 3840)}),
    ("Lumina 2", {"layers.0.attention.qkv": (3840, 2304)}),
    ("Anima", {"blocks.0.cross_attn.k_proj": (2048, 1024), "llm_adapter.blocks.0.mlp.0": (4096, 1024)}),
    ("Cosmos", {"blocks.0.self_attn.output_proj": (2048, 2048), "blocks.0.mlp.layer1": (8192, 2048)}),
    ("Wan", {"blocks.0.self_attn.q": (5120, 5120), "blocks.0.ffn.0": (13824, 5120)}),
    ("Wan", {"blocks.0.cross_attn.k_img": (5120, 5120)}),
    ("LTX-Video", {"transformer_blocks.0.attn2.to_k": (2048, 2048)}),
    ("PixArt", {"blocks.0.cross_attn.kv_linear": (2304, 1152), "blocks.0.attn.qkv": (3456, 1152)}),
    ("Stable Cascade", {"down_blocks.0.2.attention.attn.out_proj": (2048, 2048)}),
    ("AuraFlow", {"double_layers.0.attn.w1q": (3072, 3072)}),
    ("HiDream", {"double_stream_blocks.0.block.attn1.to_q": (2560, 2560)}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "layers"), ORIGINAL)
@pytest.mark.parametrize("layout", ["comfy", "lora_unet_", "lycoris_", "diffusers"])
def test_models_of_the_original_repositories(
    name: str, layers: dict[str, tuple[int, int]], layout: str
) -> None:
    told = other_architecture(shapes_in(layout, layers), {})
    assert told is not None and name in told


METADATA = [
    ({"modelspec.architecture": "Flux.1-dev/lora"}, "Flux"),
    ({"modelspec.architecture": "flux-1-dev/lora", "ss_base_model_version": "flux1"}, "Flux"),
    ({"modelspec.architecture": "Flux.2/lora"}, "Flux.2"),
    ({"modelspec.architecture": "Chroma1/lora"}, "Chroma"),
    ({"ss_base_model_version": "chroma"}, "Chroma"),
    ({"modelspec.architecture": "stable-diffusion-3-medium/lora"}, "Stable Diffusion 3"),
    ({"modelspec.architecture": "stable-diffusion-v3.5/lora"}, "Stable Diffusion 3"),
    ({"modelspec.architecture": "Qwen-Image/lora"}, "Qwen-Image"),
    ({"modelspec.architecture": "Z-Image/lora"}, "Z-Image"),
    ({"modelspec.architecture": "lumina-2/lora"}, "Lumina 2"),
    ({"modelspec.architecture": "anima-preview/lora"}, "Anima"),
    ({"modelspec.architecture": "hunyuan-video/lora"}, "HunyuanVideo"),
    ({"ss_base_model_version": "hunyuan-image-2.1"}, "HunyuanImage 2.1"),
    ({"modelspec.architecture": "pixart-sigma/lora"}, "PixArt"),
    ({"modelspec.architecture": "stable-cascade-v1-prior/lora"}, "Stable Cascade"),
    ({"modelspec.architecture": "wan2.1/lora"}, "Wan"),
    ({"modelspec.architecture": "kolors/lora"}, "Kolors"),
    ({"modelspec.architecture": "stable-diffusion-v1/lora", "ss_base_model_version": "sd_v1"}, None),
    (
        {
            "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
            "ss_base_model_version": "sdxl_base_v1-0",
        },
        None,
    ),
    ({"modelspec.architecture": "stable-diffusion-v2-768-v/lora"}, None),
    ({"modelspec.architecture": "\x00" * 100_000}, None),
]


@pytest.mark.parametrize(("metadata", "name"), METADATA)
def test_metadata_count_where_keys_do_not_tell(metadata: dict[str, str], name: str | None) -> None:
    text = {"lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": (4, 768)}
    assert other_architecture(text, metadata) == name
    unet = {"lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight": (4, 320)}
    assert other_architecture({**text, **unet}, metadata) == (name if name == "Kolors" else None)


def test_metadata_say_which_of_several_models_is_meant() -> None:
    shapes = shapes_in("lora_unet_", {"double_blocks.0.img_attn.qkv": (9216, 3072)})
    assert other_architecture(shapes, {}) == "Flux or Chroma"
    assert other_architecture(shapes, {"ss_base_model_version": "chroma"}) == "Chroma"
    assert other_architecture(shapes, {"ss_base_model_version": "sdxl_base_v1-0"}) == "Flux or Chroma"


@pytest.mark.parametrize("context", [768, 1024, 2048])
def test_networks_for_stable_diffusion_are_never_another_models(context: int) -> None:
    unet = make_unet(context)
    layers = {n: m.weight.shape[:2] for n, m in unet.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    for layout in ("lora_unet_", "lycoris_", "comfy", "peft"):
        assert other_architecture(shapes_in(layout, layers), {}) is None
    keys = [key for key in key_map({"unet": unet}) if key.startswith("lora_")]
    assert other_architecture({f"{key}.lora_down.weight": (4, 8) for key in keys}, {}) is None


CLIP = "text_model_encoder_layers_0_self_attn_q_proj"


@pytest.mark.parametrize(
    ("tensors", "metadata", "name"),
    [
        ({**lora(f"lora_te1_{CLIP}", 6, 6), **lora("lora_unet_double_blocks_0_img_mlp_0", 8, 8)}, {}, "Flux"),
        ({**lora(f"lora_te1_{CLIP}", 6, 6), **lora("lora_te3_encoder_block_0_layer_0_k", 8, 8)}, {}, "Flux"),
        (lora(f"lora_te1_{CLIP}", 6, 6), {"ss_base_model_version": "flux1"}, "Flux"),
        ({**lora(f"lora_te1_{CLIP}", 6, 6), **lora(f"lora_te2_{CLIP}", 6, 6)}, {}, "SDXL"),
        (lora("lora_te_layers_0_self_attn_q_proj", 6, 6), {}, "Anima"),
        ({"clip_l": torch.ones(2, 768), "clip_g": torch.ones(2, 1280)}, {}, "textual inversion"),
    ],
)
def test_nothing_of_a_network_for_another_model_acts(
    tensors: dict[str, Tensor],
    metadata: dict[str, str],
    name: str,
    unet: nn.Module,
    make_text: Any,
    write: Any,
) -> None:
    keys = key_map({"unet": unet, "text_encoder": make_text(False)})
    with pytest.raises(NetworkFileError, match=rf"net\.safetensors.*made for .*{name}.*take a network"):
        load_network(write(tensors, metadata), keys)


def test_a_network_for_sdxl_is_refused_though_some_layers_fit(make_unet: Any, write: Any) -> None:
    """SDXL has deeper blocks under the same names, and SD 1.x has none of the deeper ones."""
    block = "lora_unet_down_blocks_0_attentions_0"
    tensors = {**lora(f"{block}_transformer_blocks_5_attn2_to_k", 8, 2048), **lora(f"{block}_proj_in", 8, 8)}
    keys = key_map({"unet": make_unet(768)})
    with pytest.raises(
        NetworkFileError, match=r"fit no layer.*made for SDXL.*the model is Stable Diffusion 1"
    ):
        load_network(write(tensors), keys)
    assert load_network(write(lora(f"{block}_proj_in", 8, 8)), keys).unmatched == ()


KOHYA_XL = {
    "modelspec.architecture": "stable-diffusion-xl-v1-base/lora",
    "ss_base_model_version": "sdxl_base_v1-0",
}


@pytest.mark.parametrize(
    ("context", "metadata", "told"),
    [
        (768, KOHYA_XL, "SDXL"),
        (768, {"ss_base_model_version": "sdxl_base_v1-0"}, "SDXL"),
        (2048, {"ss_base_model_version": "sd_v1"}, "Stable Diffusion 1.x"),
        (768, {"modelspec.architecture": "stable-diffusion-v2-768-v/lora"}, "Stable Diffusion 2.x"),
        (2048, KOHYA_XL, None),
        (768, {"ss_base_model_version": "sd_v1"}, None),
        (768, {**KOHYA_XL, "ss_base_model_version": "sd_v1"}, None),
        (768, {"ss_base_model_version": "sdxl_refiner"}, None),
        (768, {"ss_base_model_version": "merged from many"}, None),
        (12, KOHYA_XL, None),
    ],
)
def test_which_stable_diffusion_metadata_say_where_no_width_tells(
    context: int, metadata: dict[str, str], told: str | None, make_unet: Any, write: Any
) -> None:
    """A file whose layers all fit is loaded and told; one with others is refused."""
    block = "lora_unet_down_blocks_0_attentions_0"
    keys, fits = key_map({"unet": make_unet(context)}), lora(f"{block}_proj_in", 8, 8)
    said = f"looks made for {told} (so its metadata say), the model is"
    network = load_network(write(fits, metadata), keys)
    assert [said in note for note in network.notes] == [True] * (told is not None)
    others = write({**fits, **lora(f"{block}_transformer_blocks_5_attn1_to_k", 8, 8)}, metadata)
    if told is None:
        assert len(load_network(others, keys).unmatched) == 2
        return
    with pytest.raises(NetworkFileError, match="fit no layer") as refused:
        load_network(others, keys)
    assert said in str(refused.value)


def test_the_width_counts_before_metadata(make_unet: Any, write: Any) -> None:
    wide = lora("lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k", 8, 768)
    assert load_network(write(wide, KOHYA_XL), key_map({"unet": make_unet(768)})).notes == ()


@pytest.mark.parametrize(("said", "name"), [("Qwen-Image/lora", "Qwen-Image"), ("flux-1-dev/lora", "Flux")])
def test_metadata_count_where_a_type_shows_no_width(said: str, name: str) -> None:
    shapes = {"diffusion_model.transformer_blocks.0.attn.to_q.lokr_w1": (8, 8)}
    assert other_architecture(shapes, {"modelspec.architecture": said}) == name
    assert other_architecture(shapes, {}) == "Stable Diffusion 3, Flux or Qwen-Image"
    assert (
        other_architecture({"transformer_blocks.0.ff_context.net.2.lokr_w1": (8, 8)}, {})
        == "Stable Diffusion 3"
    )


@pytest.mark.parametrize("key", ["text_encoders.0.layer.lora_down.weight", "emb_params", "te_layers_0_x"])
def test_what_lies_beside_a_unet_does_not_tell_the_model(key: str, make_unet: Any, write: Any) -> None:
    layer = lora("lora_unet_down_blocks_0_attentions_0_proj_in", 8, 8)
    network = load_network(write({**layer, key: torch.ones(2, 8)}), key_map({"unet": make_unet(768)}))
    assert network.unmatched == (key,)
    assert other_architecture({key: (2, 8)}, {}) is not None


def test_sdxl_networks_with_a_rest_are_loaded(make_unet: Any, make_text: Any, write: Any) -> None:
    keys = key_map(
        {"unet": make_unet(2048), "text_encoder": make_text(False), "text_encoder_2": make_text(False)}
    )
    tensors = {**lora(f"lora_te2_{CLIP}", 6, 6), **lora("lora_unet_up_blocks_9_resnets_0_conv1", 8, 8)}
    assert len(load_network(write(tensors), keys).unmatched) == 2
