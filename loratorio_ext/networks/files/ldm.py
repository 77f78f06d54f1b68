"""Names of UNet layers in the original (LDM, SGM) layout, derived from the diffusers layout.

SDXL networks made by kohya's trainer carry LDM names (`lora_unet_input_blocks_4_1_...`), those for SD 1.x
and 2.x diffusers names. The layouts differ in how blocks are counted: LDM numbers every resnet and every
sampler of the way down, and every resnet of the way up, in one row (CompVis latent-diffusion,
ldm/modules/diffusionmodules/openaimodel.py, `UNetModel.__init__`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from types import MappingProxyType

RESNET_PARTS = MappingProxyType(
    {
        "norm1": "in_layers.0",
        "conv1": "in_layers.2",
        "time_emb_proj": "emb_layers.1",
        "norm2": "out_layers.0",
        "conv2": "out_layers.3",
        "conv_shortcut": "skip_connection",
    }
)
ENDS = MappingProxyType(
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


def ldm_prefixes(module_names: Iterable[str]) -> dict[str, str]:
    """Diffusers prefix → LDM prefix of every resnet, attention and sampler of a UNet.

    For example "down_blocks.1.attentions.0" → "input_blocks.4.1" and "up_blocks.0.upsamplers.0" →
    "output_blocks.2.2". module_names: module paths of one diffusers UNet2DConditionModel.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)  # block → how many parts of each kind it has
    for name in module_names:
        place = _PLACE.fullmatch(name)
        if place is not None:
            parts = counts[place[1]]
            parts[place[2]] = max(parts[place[2]], int(place[3]) + 1)

    def blocks(way: str) -> list[str]:
        return sorted(
            (name for name in counts if name.startswith(way)), key=lambda name: int(name[len(way) :])
        )

    places: dict[str, str] = {}
    # input_blocks.0 is conv_in
    for way, name, count in (("down_blocks.", "input_blocks", 1), ("up_blocks.", "output_blocks", 0)):
        for block in blocks(way):
            parts = counts[block]
            for j in range(parts["resnets"]):
                places[f"{block}.resnets.{j}"] = f"{name}.{count}.0"
                if parts["attentions"]:
                    places[f"{block}.attentions.{j}"] = f"{name}.{count}.1"
                count += 1
            if parts["downsamplers"]:
                places[f"{block}.downsamplers.0"] = f"{name}.{count}.0"
                count += 1
            if parts["upsamplers"]:  # it shares the place of the block's last resnet
                places[f"{block}.upsamplers.0"] = f"{name}.{count - 1}.{2 if parts['attentions'] else 1}"
    middle = counts["mid_block"]
    for j in range(middle["resnets"]):
        places[f"mid_block.resnets.{j}"] = f"middle_block.{2 * j if middle['attentions'] else j}"
        if middle["attentions"] and j + 1 < middle["resnets"]:
            places[f"mid_block.attentions.{j}"] = f"middle_block.{2 * j + 1}"
    return places


def ldm_names(module_names: Iterable[str]) -> dict[str, str]:
    """Diffusers module path → LDM module path, for the modules that have one, in the order given.

    module_names: all module paths of one diffusers UNet (`named_modules`); the structure is read from them.
    """
    names = tuple(module_names)
    prefixes = ldm_prefixes(names)
    result: dict[str, str] = {}
    for name in names:
        if name in ENDS:
            result[name] = ENDS[name]
            continue
        place = _PLACE.fullmatch(name)
        if place is None or place[4] is None:
            continue
        prefix = prefixes.get(f"{place[1]}.{place[2]}.{place[3]}")
        rest: str | None = place[4]
        if place[2] == "resnets":
            rest = RESNET_PARTS.get(place[4])
        elif place[2] == "downsamplers":
            rest = "op" if place[4] == "conv" else None
        if prefix is not None and rest is not None:
            result[name] = f"{prefix}.{rest}"
    return result


def ldm_aliases(module_names: Sequence[str]) -> dict[str, str]:
    """Kohya's network keys with LDM names ("lora_unet_input_blocks_4_1_proj_in") → diffusers module path.

    module_names: all module paths of one diffusers UNet.
    """
    return {f"lora_unet_{ldm.replace('.', '_')}": name for name, ldm in ldm_names(module_names).items()}
