"""What a network file was made for, guessed from its keys and widths, to make errors helpful."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from loratorio_ext.networks.files.keys import KeyMap, split_key

_BY_WIDTH = MappingProxyType(
    {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "SDXL", 1280: "the SDXL refiner"}
)
# In this order: Flux has some of SD3's names.
_BY_NAME: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Flux", ("double_blocks", "single_blocks", "single_transformer_blocks")),
    ("Stable Diffusion 3", ("joint_blocks", "add_q_proj", "lora_te3_", "text_encoder_3.")),
    ("a ControlNet", ("control_model.", "controlnet_")),
    ("a textual inversion embedding", ("emb_params", "string_to_param")),
)
_CONTEXT_LAYERS = ("attn2_to_k", "attn2.to_k", "attn2_to_v", "attn2.to_v", "attn2.processor.to_k")
_WHOLE_MODELS = (
    "model.diffusion_model.",
    "first_stage_model.",
    "down_blocks.",
    "text_model.",
    "encoder.",
    "conv_in.",
)
# Parts whose second dim is the layer's input width.
_INPUT_PARTS = ("lora_down.weight", "lora_A.weight", "down.weight", "hada_w1_b", "diff", "a2.weight")


def by_width(width: int) -> str:
    """The model of this cross-attention width: 768 → "Stable Diffusion 1.x (cross-attention width 768)"."""
    name = _BY_WIDTH.get(width)
    return (
        f"a model of cross-attention width {width}"
        if name is None
        else f"{name} (cross-attention width {width})"
    )


def made_for(shapes: Mapping[str, tuple[int, ...]]) -> str | None:
    """What a file with these keys and shapes looks made for; None if nothing tells.

    shapes: all keys of the file.
    """
    for name, marks in _BY_NAME:
        if any(mark in key for key in shapes for mark in marks):
            return name
    for key, shape in shapes.items():
        if len(shape) >= 2 and key.endswith(_INPUT_PARTS) and any(mark in key for mark in _CONTEXT_LAYERS):
            return by_width(shape[1])
    if any(key.startswith(("lora_te2_", "text_encoder_2.")) for key in shapes):
        return "SDXL"
    plain = all(split_key(key).part in ("", "weight", "bias") for key in shapes)
    if plain and any(key.startswith(_WHOLE_MODELS) for key in shapes):
        return "a whole model or a part of one, not a network"
    return None


def model_is(keys: KeyMap) -> str | None:
    """What the model with these keys is; None if nothing tells."""
    for key, layer in keys.items():
        if layer.shape is not None and len(layer.shape) == 2 and key.endswith(_CONTEXT_LAYERS):
            return by_width(layer.shape[1])
    return None
