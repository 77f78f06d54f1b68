"""Which model a network file is for, told by its keys, its shapes and its metadata.

Names of layers are those of the models in diffusers (models/transformers/) and in the original
repositories, which ComfyUI and kohya's trainers keep (sd-scripts networks/lora_*.py, musubi-tuner, diffusers
loaders/lora_conversion_utils.py). Where two models have the same names, the width of a layer tells them
apart: diffusers' defaults, and the checkpoints' configurations.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from loratorio_ext.networks.files.container import NetworkFileError, read_header

BY_WIDTH = MappingProxyType(
    {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "SDXL", 1280: "the SDXL refiner"}
)
"""The models that can be drawn with, by the width of the text that their cross-attention reads."""
_CONTEXT = re.compile(r"attn2(_processor)?_to_[kv](_|$)")
# Parts whose second dim is the layer's input width, and those whose first dim is its output width.
_INPUT_PARTS = re.compile(
    r"[._](lora_down|lora_A|lora\.down|lora_linear_layer\.down|down)(\.default)?\.weight$|\.hada_w1_b$|\.diff$|\.a2\.weight$"
)
_OUTPUT_PARTS = re.compile(
    r"[._](lora_up|lora_B|lora\.up|lora_linear_layer\.up|up)(\.default)?\.weight$|\.hada_w1_a$|\.diff$|\.b1\.weight$"
)
_LONGEST_PART = 40
# Taken off the beginning of a key, in any order and number.
_PREFIX = re.compile(
    r"(?:base_model\.model\.|_orig_mod\.|module\.|model\.diffusion_model\.|diffusion_model\.|model\.(?=layers|double|blocks|unet\.)"
    r"|pipe\.|transformer\.|unet\.|dit\.|net\.|lora_unet_|oft_unet_|lycoris_(unet_)?|lora_transformer_(?!blocks_)|lora_)*"
)
_UNET = re.compile(r"^((down|up|input|output)_blocks|mid_block|middle_block)_", re.MULTILINE)
_BLOCK = r"^(layers|noise_refiner|context_refiner)_\d+_"
_FROM_19, _FROM_38 = r"(19|[2-9]\d)", r"(3[89]|[4-9]\d)"


class _Row(NamedTuple):
    """A model, keys that it has and no model below it, and the input and output width of such a layer.

    alone: the keys tell only where there are none of a UNet.
    """

    name: str
    keys: str
    width: int | None = None
    out: int | None = None
    alone: bool = False


# In this order. Keys without prefixes, with "_" for ".".
_ROWS = (
    _Row("a ControlNet", r"^control_model_|^controlnet_|^lllite_"),
    _Row("AnimateDiff", r"motion_modules_\d"),
    _Row("Stable Video Diffusion", r"temporal_transformer_blocks_\d|temporal_res_block_"),
    _Row(
        "Stable Cascade",
        r"^prior_|^(down|up)_blocks_\d+_\d+_(depthwise|channelwise|attention|kv_mapper|mapper)",
    ),
    _Row("Kolors", r"^encoder_hid_proj"),
    _Row("Chroma", r"^distilled_guidance_layer"),
    _Row(
        "Flux.2",
        r"_to_qkv_mlp_proj|^(double|single)_stream_modulation|^transformer_blocks_\d+_ff(_context)?_linear_in",
    ),
    _Row("Flux.2", r"^(double|single)_blocks_\d+_", 6144),
    _Row("Flux.2", r"^(double|single)_blocks_\d+_", 4096),
    _Row("Flux.2", r"^single_blocks_\d+_linear1", 3072, 27648),
    _Row("Flux.2", r"^double_blocks_\d+_(img|txt)_mlp_0", 3072, 18432),
    _Row(
        "HunyuanImage 2.1", r"^(double|single)_blocks_\d+_|^(single_)?transformer_blocks_\d+_attn_to_", 3584
    ),
    _Row("HiDream-I1", r"^(double|single)_stream_blocks_"),
    _Row("AuraFlow", r"^joint_transformer_blocks_|^(double|single)_layers_\d"),
    _Row(
        "HunyuanVideo",
        r"token_refiner|^double_blocks_\d+_(img|txt)_(mod_linear|mlp_fc\d)|^single_blocks_\d+_modulation_linear",
    ),
    _Row("HunyuanVideo", rf"^double_blocks_{_FROM_19}_|^single(_transformer)?_blocks_{_FROM_38}_"),
    _Row("Qwen-Image", r"^transformer_blocks_\d+_(img|txt)_(mlp|mod)"),
    _Row("Flux or Chroma", r"^(double|single)_blocks_\d|^single_transformer_blocks_"),
    _Row("Krea 2", r"^transformer_blocks_\d+_(attn_to_gate|ff_(gate|up|down))(_|$)|^text_fusion_"),
    _Row("Flux or Chroma", r"^transformer_blocks_\d+_ff_", 3072),
    _Row("Qwen-Image", rf"^transformer_blocks_{_FROM_19}_attn_(to|add)_", 3072),
    _Row("Flux or Qwen-Image", r"^transformer_blocks_\d+_attn_(to|add)_", 3072),
    _Row("Stable Diffusion 3", r"^joint_blocks_|^transformer_blocks_\d+_(ff_context|norm1_context)"),
    _Row("Stable Diffusion 3", r"^transformer_blocks_\d+_attn_(to|add)_", 1536),
    _Row("Stable Diffusion 3", r"^transformer_blocks_\d+_attn_(to|add)_", 2432),
    _Row("Stable Diffusion 3, Flux or Qwen-Image", r"^transformer_blocks_\d+_attn_(to|add)_"),
    _Row("Ernie-Image", r"^layers_\d+_self_attention_to_"),
    _Row("Lumina 2", _BLOCK + r"(attn_to|feed_forward_linear|norm1_linear)"),
    _Row("Z-Image", _BLOCK + r"attention_to_|^all_(x_embedder|final_layer)"),
    _Row("Z-Image", _BLOCK + r"(attention|feed_forward)_", 3840),
    _Row("Lumina 2", _BLOCK + r"(attention|feed_forward)_", 2304),
    _Row("Lumina 2 or Z-Image", _BLOCK + r"(attention|feed_forward|adaLN_modulation)_"),
    _Row("Anima", r"^llm_adapter_|^text_conditioner_|qwen3_06b"),
    _Row("PixArt", r"^blocks_\d+_(cross_attn_(q|kv)_linear|attn_qkv)"),
    _Row("Cosmos or Anima", r"^blocks_\d+_(adaln_modulation_|(self|cross)_attn_(q|k|v|output)_proj)"),
    _Row("Cosmos or Anima", r"^transformer_blocks_\d+_norm\d_linear_\d"),
    _Row("Cosmos or Anima", r"^transformer_blocks_\d+_attn2_to_[kv]", 1024),
    _Row("HunyuanDiT", r"^blocks_\d+_attn[12]_(Wqkv|q_proj|kv_proj|out_proj)|^blocks_\d+_skip_linear"),
    _Row("HunyuanDiT", r"^blocks_\d+_attn[12]_to_", 1408),
    _Row("Wan", r"^blocks_\d+_((self|cross)_attn_(q|k|v|o)(_img)?(_|$)|attn[12]_(to|add)_|ffn_)"),
    _Row("LTX-Video 2", r"^transformer_blocks_\d+_audio_|_audio_to_video_attn_"),
    _Row("Sana", r"^transformer_blocks_\d+_ff_conv_"),
    _Row("Sana", r"^transformer_blocks_\d+_attn\d_to_", 2240),
    _Row("PixArt", r"^transformer_blocks_\d+_attn\d_to_", 1152),
    _Row("Wan", r"^transformer_blocks_\d+_attn\d_to_", 5120),
    _Row("LTX-Video", r"^transformer_blocks_\d+_attn\d_to_", 2048),
    _Row("LTX-Video or Cosmos", r"^transformer_blocks_\d+_attn\d_to_", 4096),
    _Row("CogVideoX", r"^transformer_blocks_\d+_attn1_to_", 1920),
    _Row("CogVideoX", r"^transformer_blocks_\d+_attn1_to_", 3072),
    _Row("a transformer such as PixArt, LTX-Video, Cosmos or Sana", r"^(transformer_)?blocks_\d+_"),
    _Row("Stable Diffusion 3 or Flux", r"^te3_|^text_encoder_3_|^(text_encoders_)?t5"),
    _Row(
        "a model that reads text by a language model, such as Anima or Lumina 2",
        r"^te_(model_)?layers_\d|^text_encoders_(?!clip_)",
        alone=True,
    ),
    _Row("a textual inversion embedding", r"^emb_params$|^string_to_param(_|$)|^clip_[lg]$", alone=True),
)
# A search for "\n" is quicker than one for "^".
_TABLE = tuple((row, re.compile(row.keys.replace("^", r"\n"), re.MULTILINE)) for row in _ROWS)
# `modelspec.architecture` (sd-scripts library/sai_model_spec.py; OneTrainer resources/sd_model_spec/) and
# `ss_base_model_version` (sd-scripts library/*_utils.py, musubi-tuner), in small letters without signs.
_METADATA = tuple(
    (name, re.compile(pattern))
    for name, pattern in (
        ("Flux.2", r"^flux[v]?2|klein"),
        ("Chroma", r"chroma"),
        ("Flux", r"^flux"),
        ("Stable Diffusion 3", r"^stablediffusionv?3|^sd3"),
        ("Qwen-Image", r"^qwenimage"),
        ("Z-Image", r"^zimage"),
        ("Lumina 2", r"^lumina"),
        ("Anima", r"^anima(?!te)"),
        ("Cosmos", r"^cosmos"),
        ("Wan", r"^wan[v]?\d"),
        ("HunyuanVideo", r"^(hunyuanvideo|framepack)"),
        ("HunyuanImage 2.1", r"^hunyuanimage"),
        ("HunyuanDiT", r"^(hunyuandit|hydit)"),
        ("LTX-Video", r"^ltx"),
        ("PixArt", r"^pixart"),
        ("Stable Cascade", r"^(stablecascade|wuerstchen)"),
        ("Kolors", r"kolors"),
        ("Sana", r"^sana"),
        ("HiDream-I1", r"^hidream"),
        ("AuraFlow", r"^auraflow"),
        ("Ernie-Image", r"^ernie"),
        ("Krea 2", r"^krea"),
    )
)
_DIFFUSION = (
    ("SDXL", re.compile(r"^stablediffusionxlv1base|^sdxl(?!.*refiner)")),
    ("Stable Diffusion 1.x", re.compile(r"^(stablediffusion|sd)v?1")),
    ("Stable Diffusion 2.x", re.compile(r"^(stablediffusion|sd)v?2")),
)
_WHOLE_MODELS = (
    *("model.diffusion_model.", "first_stage_model.", "down_blocks.", "text_model.", "encoder.", "conv_in."),
)


def _flat(key: str) -> str:
    """A key on one line without prefixes, with "_" for "."."""
    return _PREFIX.sub("", key, count=1).replace(".", "_").replace("\n", " ")


def _said(metadata: Mapping[str, str], names: Iterable[tuple[str, re.Pattern[str]]]) -> list[str]:
    """The models of these that the metadata name."""
    fields = ("modelspec.architecture", "ss_base_model_version")
    values = [re.sub(r"[^a-z0-9]", "", metadata.get(field, "")[:200].lower()) for field in fields]
    return [name for value in values for name, pattern in names if pattern.search(value)]


def said_diffusion(metadata: Mapping[str, str]) -> str | None:
    """Which Stable Diffusion the metadata name; None where they name none, or contradict themselves."""
    names = set(_said(metadata, (*_DIFFUSION, *_METADATA)))
    return names.pop() if len(names) == 1 and names <= {name for name, _ in _DIFFUSION} else None


def _width(
    shapes: Mapping[str, tuple[int, ...]], keys: Iterable[str], parts: re.Pattern[str], dim: int
) -> set[int]:
    """The widths of the layers with these keys."""
    return {shapes[key][dim] for key in keys if len(shapes[key]) >= 2 and parts.search(key[-_LONGEST_PART:])}


def other_architecture(shapes: Mapping[str, tuple[int, ...]], metadata: Mapping[str, str]) -> str | None:
    """The model that a file is for if it is none of Stable Diffusion 1.x, 2.x and XL; None otherwise.

    shapes: of all tensors, by key. Keys count before metadata, which say which of several models is meant,
    and count alone where the file has no layer of a UNet.
    """
    flat = {_flat(key): key for key in shapes}
    said, text = next(iter(_said(metadata, _METADATA)), None), "\n".join(("", *flat))
    has_unet = _UNET.search(text) is not None
    for row, pattern in _TABLE:
        if row.alone and has_unet:
            continue
        found = [flat[line] for line in _lines(text, pattern)]
        if not found:
            continue
        if (row.width is None or row.width in _width(shapes, found, _INPUT_PARTS, 1)) and (
            row.out is None or row.out in _width(shapes, found, _OUTPUT_PARTS, 0)
        ):
            return said if said is not None and " or " in row.name else row.name
    return said if said == "Kolors" or not has_unet else None


def _lines(text: str, pattern: re.Pattern[str]) -> Iterable[str]:
    """The lines of `text` that have a match, in order, each once."""
    position = 0
    while (match := pattern.search(text, position)) is not None:
        start, end = text.rfind("\n", 0, match.start() + 1) + 1, text.find("\n", match.end())
        position = len(text) if end < 0 else end
        yield text[start:position]
        if end < 0:
            return


def stable_diffusion(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """Which Stable Diffusion a file is for, or that it is a whole model; None where nothing tells."""
    context = [key for key in shapes if _CONTEXT.search(_flat(key))]
    for width in sorted(_width(shapes, context, _INPUT_PARTS, 1)):
        return named_by_width(width)
    if any(
        _flat(key).startswith(("te2_", "text_encoder_2_", "clip_g_", "text_encoders_clip_g_"))
        for key in shapes
    ):
        return "SDXL"
    plain = all(key.endswith((".weight", ".bias")) and "lora" not in key for key in shapes)
    if plain and any(key.startswith(_WHOLE_MODELS) for key in shapes):
        return "a whole model or a part of one, not a network"
    return None


def named_by_width(width: int) -> str:
    """A model by the width of the text that its cross-attention reads."""
    said = f"cross-attention width {width}"
    return f"{BY_WIDTH[width]} ({said})" if width in BY_WIDTH else f"a model of {said}"


def made_for(path: Path) -> str | None:
    """The model that a file is for; None where nothing tells, or where it cannot be read."""
    try:
        header = read_header(path)
    except NetworkFileError:
        return None
    found = other_architecture(*header) or stable_diffusion(header.shapes)
    return None if found is None or found.startswith("a ") else found
