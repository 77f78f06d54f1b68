"""Names of UNet layers in the original (LDM, SGM) layout, derived from the diffusers layout.

SDXL networks made by kohya's trainer carry LDM names (`lora_unet_input_blocks_4_1_...`), those for SD 1.x
and 2.x diffusers names. The layouts differ in how blocks are counted: LDM numbers every resnet and every
sampler of the way down, and every resnet of the way up, in one row (CompVis latent-diffusion,
ldm/modules/diffusionmodules/openaimodel.py, `UNetModel.__init__`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class UNetBlock:
    """One block: how many resnets, whether each has an attention, whether a sampler ends it."""

    resnets: int
    attention: bool
    sampler: bool


@dataclass(frozen=True)
class UNetStructure:
    """What the counting depends on: blocks of the way down and of the way up, and the middle."""

    down: tuple[UNetBlock, ...]
    up: tuple[UNetBlock, ...]
    mid: UNetBlock

    @staticmethod
    def of(module_names: Iterable[str]) -> UNetStructure:
        """Reads the structure from the module names of a diffusers UNet2DConditionModel."""
        seen: dict[str, dict[str, int]] = {}
        for name in module_names:
            place = _PLACE.fullmatch(name)
            if place is not None:
                counts = seen.setdefault(place[1], {})
                counts[place[2]] = max(counts.get(place[2], 0), int(place[3]) + 1)

        def block(name: str) -> UNetBlock:
            counts = seen.get(name, {})
            sampler = "downsamplers" in counts or "upsamplers" in counts
            return UNetBlock(counts.get("resnets", 0), "attentions" in counts, sampler)

        def row(way: str) -> tuple[UNetBlock, ...]:
            numbers = [int(name.rpartition(".")[2]) for name in seen if name.startswith(way)]
            return tuple(block(f"{way}.{number}") for number in range(max(numbers, default=-1) + 1))

        return UNetStructure(row("down_blocks"), row("up_blocks"), block("mid_block"))


def ldm_prefixes(structure: UNetStructure) -> dict[str, str]:
    """Diffusers prefix → LDM prefix of every resnet, attention and sampler, e.g.

    "down_blocks.1.attentions.0" → "input_blocks.4.1" and "up_blocks.0.upsamplers.0" → "output_blocks.2.2".
    """
    places: dict[str, str] = {}
    count = 1  # input_blocks.0 is conv_in
    for number, block in enumerate(structure.down):
        for j in range(block.resnets):
            places[f"down_blocks.{number}.resnets.{j}"] = f"input_blocks.{count}.0"
            if block.attention:
                places[f"down_blocks.{number}.attentions.{j}"] = f"input_blocks.{count}.1"
            count += 1
        if block.sampler:
            places[f"down_blocks.{number}.downsamplers.0"] = f"input_blocks.{count}.0"
            count += 1
    for j in range(structure.mid.resnets):
        places[f"mid_block.resnets.{j}"] = f"middle_block.{2 * j if structure.mid.attention else j}"
        if structure.mid.attention and j + 1 < structure.mid.resnets:
            places[f"mid_block.attentions.{j}"] = f"middle_block.{2 * j + 1}"
    count = 0
    for number, block in enumerate(structure.up):
        for j in range(block.resnets):
            places[f"up_blocks.{number}.resnets.{j}"] = f"output_blocks.{count}.0"
            if block.attention:
                places[f"up_blocks.{number}.attentions.{j}"] = f"output_blocks.{count}.1"
            count += 1
        if block.sampler:  # it shares the place of the block's last resnet
            places[f"up_blocks.{number}.upsamplers.0"] = (
                f"output_blocks.{count - 1}.{2 if block.attention else 1}"
            )
    return places


def ldm_names(module_names: Iterable[str]) -> dict[str, str]:
    """Diffusers module path → LDM module path, for the modules that have one, in the order given.

    module_names: all module paths of one diffusers UNet (`named_modules`); the structure is read from them.
    """
    names = tuple(module_names)
    prefixes = ldm_prefixes(UNetStructure.of(names))
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
