"""Weights of a network by blocks of the UNet, as sd-webui-lora-block-weight writes them. Imports no torch.

`<lora:knight:1:lbw=OUTD>`, or a list of numbers: 17 or 12 of them for the blocks with attention of Stable
Diffusion 1.x or XL, 26 or 20 for all blocks. The first is the text encoder's. Blocks that a list does not
name have the weight 0, as in that extension, except with ALL, ALL0.5 and NONE, which mean all there are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from loratorio_ext.networks.problems import Problem

MOST_WEIGHT = 10.0
"""Weights beyond ±10 are taken for a slip."""

BASE = "BASE"


def _numbered(way: str, *numbers: int) -> tuple[str, ...]:
    return tuple(f"{way}{number:02d}" for number in numbers)


ALL_BLOCKS = (BASE, *_numbered("IN", *range(12)), "M00", *_numbered("OUT", *range(12)))

_LISTS: Mapping[int, tuple[str, ...]] = MappingProxyType(
    {
        12: (BASE, *_numbered("IN", 4, 5, 7, 8), "M00", *_numbered("OUT", *range(6))),
        17: (BASE, *_numbered("IN", 1, 2, 4, 5, 7, 8), "M00", *_numbered("OUT", *range(3, 12))),
        20: (BASE, *_numbered("IN", *range(9)), "M00", *_numbered("OUT", *range(9))),
        26: ALL_BLOCKS,
    }
)
# Which blocks a preset leaves at 1, and what the others have.
_PRESETS: Mapping[str, tuple[tuple[str, ...], float]] = MappingProxyType(
    {
        "NONE": ((), 0.0),
        "ALL": (ALL_BLOCKS, 1.0),
        "ALL0.5": ((), 0.5),
        "INS": ((BASE, *_numbered("IN", 1, 2, 4)), 0.0),
        "IND": ((BASE, *_numbered("IN", 5, 7, 8)), 0.0),
        "INALL": ((BASE, *_numbered("IN", 1, 2, 4, 5, 7, 8)), 0.0),
        "MIDD": ((BASE, *_numbered("IN", 5, 7, 8), "M00", *_numbered("OUT", *range(3, 7))), 0.0),
        "OUTD": ((BASE, *_numbered("OUT", *range(3, 7))), 0.0),
        "OUTS": ((BASE, *_numbered("OUT", *range(7, 12))), 0.0),
        "OUTALL": ((BASE, *_numbered("OUT", *range(3, 12))), 0.0),
    }
)
LBW_TAKES = Problem(
    "give {presets}, or 12, 17, 20 or 26 numbers from -10 to 10, separated by commas",
    {"presets": ", ".join(_PRESETS)},
)
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,6}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})")
_LDM = re.compile(r"lora_unet_(?:(input|output)_blocks_([0-9]{1,2})|middle_block)_.*")


@dataclass(frozen=True)
class BlockWeights:
    """The weight of every block of `ALL_BLOCKS`; unnamed: blocks for which nothing was written."""

    weights: Mapping[str, float]
    unnamed: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> BlockWeights:
        """What ``lbw=`` says.

        Raises:
            ValueError: it is no preset and no list of numbers; says what it takes.
        """
        preset = _PRESETS.get(text.strip().upper())
        if preset is not None:
            ones, others = preset
            weights = {block: 1.0 if block in ones else others for block in ALL_BLOCKS}
            unnamed = frozenset(ALL_BLOCKS) - set(_LISTS[17])
            return cls(weights, unnamed if 0 < len(ones) < len(ALL_BLOCKS) else frozenset())
        items = [item.strip() for item in text[:1000].split(",")]
        blocks = _LISTS.get(len(items))
        if blocks is None or not all(map(_NUMBER.fullmatch, items)):
            raise ValueError(str(LBW_TAKES))
        given = dict(zip(blocks, map(float, items), strict=True))
        if max(map(abs, given.values())) > MOST_WEIGHT:
            raise ValueError(str(LBW_TAKES))
        return cls(
            {block: given.get(block, 0.0) for block in ALL_BLOCKS}, frozenset(ALL_BLOCKS) - given.keys()
        )


def block_of(key: str) -> str | None:
    """The block of a layer's key in kohya's style with LDM names ("lora_unet_input_blocks_4_1_proj_in").

    None: the layer belongs to no block, or the key is another one.
    """
    if key.startswith(("lora_te_", "lora_te1_", "lora_te2_")):
        return BASE
    found = _LDM.fullmatch(key)
    if found is None:
        return None
    way, number = found.groups()
    block = "M00" if way is None else f"{'IN' if way == 'input' else 'OUT'}{int(number):02d}"
    return block if block in ALL_BLOCKS else None
