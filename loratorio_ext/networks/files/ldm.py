"""Names of UNet layers in the original (LDM, SGM) layout, derived from the diffusers layout.

SDXL networks made by kohya's trainer carry LDM names (`lora_unet_input_blocks_4_1_...`), those for SD 1.x
and 2.x diffusers names. The layouts differ in how blocks are counted: LDM numbers every resnet and every
sampler of the way down, and every resnet of the way up, in one row (CompVis latent-diffusion,
ldm/modules/diffusionmodules/openaimodel.py, `UNetModel.__init__`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from types import MappingProxyType

_RESNET_PARTS = MappingProxyType(
    {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
)
_ENDS = MappingProxyType(
    {
        "conv_in": "input_blocks.0.0",
        "time_embedding.linear_1": "time_embed.0",
        "time_embedding.linear_2": "time_embed.2",
        "class_embedding.linear_1": "label_emb.0.0",
        "class_embedding.linear_2": "label_emb.0.2",
        "add_embedding.linear_1": "label_emb.0.0",
        "add_embedding.linear_2": "label_emb.0.2",
        "conv_norm_out": "out.0",
        "conv_out": "out.2",
    }
)
_PLACE = re.compile(
    r"(down_blocks\.[0-9]{1,3}|up_blocks\.[0-9]{1,3}|mid_block)\."
    r"(resnets|attentions|downsamplers|upsamplers)\.([0-9]{1,3})(?:\.(.+))?"
)


def _ldm_prefixes(places: Iterable[re.Match[str]]) -> dict[str, str]:
    """Diffusers prefix → LDM prefix of every resnet, attention and sampler of a UNet.

    For example "down_blocks.1.attentions.0" → "input_blocks.4.1" and "up_blocks.0.upsamplers.0" →
    "output_blocks.2.2".
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)  # block → how many parts of each kind it has
    for place in places:
        parts = counts[place[1]]
        parts[place[2]] = max(parts[place[2]], int(place[3]) + 1)

    prefixes: dict[str, str] = {}
    number = {"down": 1, "up": 0}  # input_blocks.0 is conv_in
    for block in sorted(counts.keys() - {"mid_block"}, key=lambda name: int(name.rpartition(".")[2])):
        parts, way = counts[block], block.partition("_")[0]
        ldm = "input_blocks" if way == "down" else "output_blocks"
        for j in range(parts["resnets"]):
            prefixes[f"{block}.resnets.{j}"] = f"{ldm}.{number[way]}.0"
            if parts["attentions"]:
                prefixes[f"{block}.attentions.{j}"] = f"{ldm}.{number[way]}.1"
            number[way] += 1
        if parts["downsamplers"]:
            prefixes[f"{block}.downsamplers.0"] = f"{ldm}.{number[way]}.0"
            number[way] += 1
        if parts["upsamplers"]:  # it shares the place of the block's last resnet
            prefixes[f"{block}.upsamplers.0"] = f"{ldm}.{number[way] - 1}.{2 if parts['attentions'] else 1}"
    middle = counts["mid_block"]
    for j in range(middle["resnets"]):
        prefixes[f"mid_block.resnets.{j}"] = f"middle_block.{2 * j if middle['attentions'] else j}"
        if middle["attentions"] and j + 1 < middle["resnets"]:
            prefixes[f"mid_block.attentions.{j}"] = f"middle_block.{2 * j + 1}"
    return prefixes


def ldm_names(module_names: Iterable[str]) -> dict[str, str]:
    """Diffusers module path → LDM module path, for the modules that have one, in the order given.

    module_names: all module paths of one diffusers UNet (`named_modules`); the structure is read from them.
    """
    places = {name: _PLACE.fullmatch(name) for name in module_names}
    prefixes = _ldm_prefixes(place for place in places.values() if place is not None)
    result: dict[str, str] = {}
    for name, place in places.items():
        if name in _ENDS:
            result[name] = _ENDS[name]
        if place is None or place[4] is None:
            continue
        prefix = prefixes.get(f"{place[1]}.{place[2]}.{place[3]}")
        rest: str | None = place[4]
        if place[2] == "resnets":
            rest = _RESNET_PARTS.get(place[4])
        elif place[2] == "downsamplers":
            rest = "op" if place[4] == "conv" else None
        if prefix is not None and rest is not None:
            result[name] = f"{prefix}.{rest}"
    return result
