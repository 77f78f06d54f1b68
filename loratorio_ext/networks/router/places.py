"""Where networks act in a row: a map over the latent for each of them, brought to the places of every layer.

A convolution's places are its output's pixels, those of a token layer the squares of the latent that its
tokens stand for. Where a place covers several latent pixels the map's mean is taken, where a latent pixel
covers several places each gets its value. What has no place (time, pooled text, text tokens) gets the mean of
the whole map.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Tokens = Literal["image", "text", "text first", "text last"]
"""What the tokens of a layer are: of the picture, of the prompt, or of both in one sequence."""

# Of UNets (cross-attention), of transformers in which text has a stream of its own, and of what Chroma
# makes from the time for all its layers.
_OF_TEXT = re.compile(
    r"attn2[._]to_[kv]$|cross_attn\.([kv](_proj|_img|_norm)?|norm_k(_img)?)$"
    r"|(^|[._])(txt(_|mlp|fusion)|context_block|context_embedder|ff_context|to_add_out|add_[qkv]_proj"
    r"|norm_added_[qk]|context_refiner|cap_embedder|text_embedder|text_embedding|text_proj|img_emb"
    r"|distilled_guidance_layer)"
)
# By the names that diffusers gives to SD 3.5's second attention.
_OF_IMAGE = re.compile(r"^transformer\.transformer_blocks\.\d+\.attn2")
# Z-Image in diffusers; its refiner, which pads the picture alone, and Ernie in Forge Neo.
_TEXT_LAST = re.compile(
    r"^transformer\.(layers|noise_refiner|all_final_layer)\."
    r"|^diffusion_model\.(noise_refiner\.|final_linear$|layers\.\d+\.(self_attention|mlp|adaLN_(sa|mlp)_ln))"
)
# Flux and its kind; Z-Image and Lumina, then Krea in Forge Neo.
_TEXT_FIRST = re.compile(
    r"single_(transformer_)?blocks|^diffusion_model\.(layers\.|final_layer\.linear$)"
    r"|^diffusion_model\.(blocks\.\d+\.(attn\.|mlp\.(gate|up|down)$)|last\.linear$)"
)

_PADDED = 32
"""diffusers' Z-Image pads the tokens of the picture to a multiple of this."""


class TokenLayout(NamedTuple):
    """How a transformer makes tokens of a picture, as far as its layers' names do not tell.

    Attributes:
        patch: side in latent pixels of the square behind a token, in one sequence with text.
        multiple: what the number of the picture's tokens is padded to a multiple of.
    """

    patch: int = 2
    multiple: int = 1


class UnplacedError(ValueError):
    """The places of a layer's output are not known, so maps cannot be applied to it."""


def tokens_of(layer: str) -> Tokens:
    """What a layer's tokens are by its name, in Stable Diffusion's UNets and in transformers (DiTs)."""
    if _OF_TEXT.search(layer) and not _OF_IMAGE.search(layer):
        return "text"
    if _TEXT_LAST.search(layer):
        return "text last"
    return "text first" if _TEXT_FIRST.search(layer) else "image"


class Places:
    """The maps of the rows of one model call; brought to a layer's size once, for all calls that use them."""

    def __init__(self, rows: Sequence[int], maps: Tensor, layout: TokenLayout | None = None) -> None:
        """Nothing is copied.

        Args:
            rows: those rows of the model call that place networks, ascending.
            maps: what each network's contribution is multiplied by, [len(rows), networks, H, W], where H and
                W are the latent's, or 1 and 1 for a network that acts alike everywhere; any finite numbers.
            layout: of the model's tokens; None: the usual one.

        Raises:
            ValueError: ``maps`` has another shape.
        """
        if maps.dim() != 4 or len(maps) != len(rows) or 0 in maps.shape:
            raise ValueError(f"maps has shape {tuple(maps.shape)}; give [{len(rows)}, networks, H, W]")
        self.rows = tuple(rows)
        self._maps = maps.detach().float()
        self._layout = layout or TokenLayout()
        self._known: dict[tuple[object, ...], Tensor] = {}
        self._parts: dict[tuple[int | None, ...], Places] = {}

    @property
    def networks(self) -> int:
        """How many networks the maps are for."""
        return self._maps.shape[1]

    def suit(self, latents: Tensor) -> bool:
        """Whether latents [..., H, W] have the maps' size."""
        return self._maps.shape[-2:] in (latents.shape[-2:], (1, 1))

    def of(self, rows: Sequence[int | None]) -> Places | None:
        """The maps of another call, whose rows are these of this one (None: a row that is not placed).

        None where none of its rows is placed.
        """
        known = tuple(rows)
        placed = {place: self.rows.index(row) for place, row in enumerate(rows) if row in self.rows}
        if not placed:
            return None
        if known not in self._parts:
            maps = torch.stack([self._maps[index] for index in placed.values()])
            self._parts[known] = Places(tuple(placed), maps, self._layout)
        return self._parts[known]

    def at(self, layer: str, out: Tensor, channels: int, start: int, columns: tuple[int, ...]) -> Tensor:
        """The maps at the places of a layer's output.

        Args:
            layer: its name.
            out: of neighbouring rows, one entry of dim 0 each.
            channels: dim of the channels, 1 or -1.
            start: the first of these rows.
            columns: a network for each channel of the result.

        Returns:
            Like ``out``, but with ``len(columns)`` channels; sizes of 1 stand for all places.

        Raises:
            UnplacedError: the output does not lie over the latent in a known way.
        """
        spatial = tuple(out.shape[1:-1] if channels == -1 else out.shape[2:])
        tokens = tokens_of(layer) if channels == -1 else None
        key = (tokens, spatial, channels, start, len(out), columns, out.dtype, out.device)
        if key not in self._known:
            first = self.rows.index(start)
            maps = self._maps[first : first + len(out)]
            found = self._at(maps, layer, spatial, tokens)
            # Stacked, since an index that is a list would be copied to the device, and waited for.
            picked = torch.stack([found[:, network] for network in columns], dim=channels)
            self._known[key] = picked.to(out.device, out.dtype)
        return self._known[key]

    def _at(self, maps: Tensor, layer: str, spatial: tuple[int, ...], tokens: Tokens | None) -> Tensor:
        """[rows, networks, *spatial], or ones in place of sizes; tokens: None in a convolution."""
        mean = maps.mean(dim=(-2, -1))
        if spatial in ((), (1,)) or tokens == "text" or maps.shape[-2:] == (1, 1):
            return mean.view(*mean.shape, *(1,) * len(spatial))
        if len(spatial) == 3 and spatial[0] == 1:  # the one frame of a still picture
            return self._at(maps, layer, spatial[1:], tokens).unsqueeze(2)
        height, width = maps.shape[-2:]
        if len(spatial) == 2 and (tokens is None or spatial in _sizes(height, width)):
            return resized(maps, (spatial[0], spatial[1]))
        if len(spatial) == 2:  # tokens and heads of an attention, whose norm they go through
            heads = spatial.index(min(spatial))
            return self._at(maps, layer, (max(spatial),), tokens).unsqueeze(2 + heads)
        if len(spatial) == 1 and tokens == "image":
            for size in _sizes(height, width):
                if math.prod(size) == spatial[0]:
                    return resized(maps, size).flatten(2)
        elif len(spatial) == 1 and tokens is not None:
            patch, multiple = self._layout
            if tokens == "text last" and layer.startswith("transformer."):
                multiple = _PADDED
            image = resized(maps, (-(-height // patch), -(-width // patch))).flatten(2)
            padding = -image.shape[2] % multiple
            text = spatial[0] - image.shape[2] - padding
            if text >= 0:
                before, behind = (text, padding) if tokens == "text first" else (0, padding + text)
                nowhere = mean[:, :, None].expand
                return torch.cat((nowhere(-1, -1, before), image, nowhere(-1, -1, behind)), dim=2)
        raise UnplacedError(
            f"layer {layer} has an output of {' × '.join(map(str, spatial))}, which does not lie over a "
            f"latent of {width} × {height}: another extension may merge, pad or split what the model works on"
        )


def resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps [rows, networks, H, W] at another size: means where they shrink, nearest where they grow.

    A layer with a stride of 2, 4, … has ⌈H / stride⌉ places, the last of which covers what is left.
    """
    height, width = maps.shape[-2:]
    if size == (height, width):
        return maps
    strides = [stride for stride, found in enumerate(_sizes(height, width)) if found == size]
    if strides:
        return F.avg_pool2d(maps, 2 ** strides[0], ceil_mode=True, count_include_pad=False)
    if size[0] <= height and size[1] <= width:
        return F.adaptive_avg_pool2d(maps, size)
    return F.interpolate(maps, size, mode="nearest")


def _sizes(height: int, width: int) -> list[tuple[int, int]]:
    """⌈H / 2ⁿ⌉ and ⌈W / 2ⁿ⌉ for n = 0, 1, … until both are 1."""
    strides = [2**n for n in range(max(height, width).bit_length() + 1)]
    return [(-(-height // stride), -(-width // stride)) for stride in strides]
