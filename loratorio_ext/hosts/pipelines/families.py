"""The families of pipelines that can be composed, and how each of them calls its denoiser."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import torch
from torch import Tensor

Arguments = Mapping[str, Any]
"""The denoiser's arguments by name."""


class Layout(Protocol):
    """How a family lays latents out for its denoiser."""

    def picture(self, value: Any, arguments: Arguments) -> Tensor:
        """Latents or predictions as the denoiser has them → [rows, C, H, W], which lies over the picture."""

    def packed(self, picture: Tensor, arguments: Arguments) -> Any:
        """The other way round."""


class Plain:
    """[rows, C, H, W] as it is."""

    def picture(self, value: Any, arguments: Arguments) -> Tensor:
        """See `Layout`."""
        return value  # type: ignore[no-any-return]

    def packed(self, picture: Tensor, arguments: Arguments) -> Any:
        """See `Layout`."""
        return picture


class Frames:
    """[rows, C, frames, H, W] of a model of videos, with the one frame of a still picture."""

    def picture(self, value: Any, arguments: Arguments) -> Tensor:
        """See `Layout`; ValueError for a video."""
        if value.shape[2] != 1:
            raise ValueError(
                f"the latents have {value.shape[2]} frames; only still pictures are composed: num_frames=1"
            )
        return value.squeeze(2)  # type: ignore[no-any-return]

    def packed(self, picture: Tensor, arguments: Arguments) -> Any:
        """See `Layout`."""
        return picture.unsqueeze(2)


class Listed:
    """A list with a tensor [C, 1, H, W] for each row."""

    def picture(self, value: Any, arguments: Arguments) -> Tensor:
        """See `Layout`."""
        return Frames().picture(torch.stack(list(value)), arguments)

    def packed(self, picture: Tensor, arguments: Arguments) -> Any:
        """See `Layout`."""
        return list(picture.unsqueeze(2).unbind(0))


class Packed:
    """[rows, tokens, 4 · C], a token for each square of 2 × 2 latent pixels; tokens of references follow."""

    def __init__(self, grid: Callable[[Arguments], tuple[int, int]]) -> None:
        """``grid``: height and width of the picture in tokens, from the call's arguments."""
        self._grid = grid

    def picture(self, value: Any, arguments: Arguments) -> Tensor:
        """See `Layout`."""
        height, width = self._grid(arguments)
        rows, tokens, channels = value.shape
        if tokens < height * width or channels % 4:
            raise ValueError(
                f"the denoiser has {tokens} tokens of {channels} channels, and the picture {height} × {width}"
            )
        squares = value[:, : height * width].reshape(rows, height, width, channels // 4, 2, 2)
        return squares.permute(0, 3, 1, 4, 2, 5).reshape(rows, channels // 4, 2 * height, 2 * width)  # type: ignore[no-any-return]

    def packed(self, picture: Tensor, arguments: Arguments) -> Any:
        """See `Layout`."""
        rows, channels, height, width = picture.shape
        squares = picture.reshape(rows, channels, height // 2, 2, width // 2, 2)
        return squares.permute(0, 2, 4, 1, 3, 5).reshape(rows, -1, 4 * channels)


class GridOfIds:
    """Height and width in tokens from Flux's `img_ids` [tokens, 3]: (0 for the picture itself, y, x)."""

    def __init__(self) -> None:
        self._known: tuple[Tensor, tuple[int, int]] | None = None

    def __call__(self, arguments: Arguments) -> tuple[int, int]:
        """Read once for every tensor of ids, since reading waits for the device."""
        ids: Tensor = arguments["img_ids"]
        if self._known is None or self._known[0] is not ids:
            flat = (ids[0] if ids.dim() == 3 else ids).detach().cpu()
            height, width = (int(side) + 1 for side in flat[flat[:, 0] == 0][:, 1:].amax(dim=0))
            self._known = ids, (height, width)
        return self._known[1]


def _grid_of_shapes(arguments: Arguments) -> tuple[int, int]:
    """The same from Qwen-Image's `img_shapes`: for each row its pictures' (frames, height, width)."""
    _, height, width = arguments["img_shapes"][0][0]
    return int(height), int(width)


@dataclass(frozen=True)
class Flow:
    """A model of rectified flow: x = (1 − σ) · x0 + σ · ε, and it predicts ± (ε − x0).

    Attributes:
        sigma: from the denoiser's timestep.
        sign: of the prediction.
    """

    sigma: Callable[[float], float]
    sign: float = 1.0


@dataclass(frozen=True)
class Family:
    """How pipelines call their denoiser.

    Attributes:
        pipelines: the names of the pipelines' classes.
        component: the attribute of the pipeline with the denoiser.
        sample: its argument with the noisy latents.
        timestep: its argument with the timestep.
        guidance: where the rows of guidance are: in one call, in this order, or "two calls": those of the
            unconditional in a second call with the same latents.
        layout: makes the layout for one generation.
        flow: None: a UNet that sees x = α · x0 + σ · ε with the scheduler's α and prediction type.
        per_row: its arguments that are lists with an entry for each row.
        joined: part of the names of layers in which the texts of all rows are one sequence, without a
            dimension for the rows; empty: there is none.
        text_length: how much of that sequence a row takes, from the arguments and the row's number.
    """

    pipelines: re.Pattern[str]
    component: Literal["unet", "transformer"]
    sample: str
    timestep: str
    guidance: Literal["uncond first", "cond first", "two calls"]
    layout: Callable[[], Layout]
    flow: Flow | None = None
    per_row: frozenset[str] = frozenset()
    joined: str = ""
    text_length: Callable[[Arguments, int], int] = lambda arguments, row: 0


FAMILIES: Final[Sequence[Family]] = (
    Family(
        re.compile(
            r"StableDiffusion(XL)?(ControlNet(Union)?|Adapter)?(Img2Img|Inpaint)?Pipeline"
            r"|StableDiffusionDepth2ImgPipeline|LatentConsistencyModel(Img2Img)?Pipeline"
        ),
        "unet",
        "sample",
        "timestep",
        "uncond first",
        Plain,
    ),
    Family(
        re.compile(r"StableDiffusion3(ControlNet|ControlNetInpainting|Img2Img|Inpaint)?Pipeline"),
        "transformer",
        "hidden_states",
        "timestep",
        "uncond first",
        Plain,
        Flow(lambda timestep: timestep / 1000),
    ),
    Family(
        re.compile(r"Flux(Control|ControlNet|Kontext|Fill)?(Img2Img|Inpaint)?Pipeline"),
        "transformer",
        "hidden_states",
        "timestep",
        "two calls",
        lambda: Packed(GridOfIds()),
        Flow(lambda timestep: timestep),
    ),
    Family(
        re.compile(r"QwenImage(Edit|EditPlus|ControlNet)?(Img2Img|Inpaint)?Pipeline"),
        "transformer",
        "hidden_states",
        "timestep",
        "two calls",
        lambda: Packed(_grid_of_shapes),
        Flow(lambda timestep: timestep),
        frozenset({"img_shapes"}),
    ),
    Family(
        re.compile(r"ZImage(ControlNet)?(Img2Img|Inpaint)?Pipeline"),
        "transformer",
        "x",
        "t",
        "cond first",
        Listed,
        Flow(lambda timestep: 1 - timestep, sign=-1.0),
        frozenset({"x", "cap_feats"}),
        "cap_embedder",
        lambda arguments, row: -(-len(arguments["cap_feats"][row]) // 32),  # padded to a multiple of 32
    ),
    Family(
        re.compile(r"WanPipeline"),
        "transformer",
        "hidden_states",
        "timestep",
        "two calls",
        Frames,
        Flow(lambda timestep: timestep / 1000),
    ),
)


def family_of(pipeline: Any) -> Family:
    """The family of a pipeline, told by the name of its class or of a class that it inherits from.

    Raises:
        ValueError: it is no pipeline, or of no family whose calls are known.
    """
    names = [kind.__name__ for kind in type(pipeline).__mro__]
    for family in FAMILIES:
        if any(family.pipelines.fullmatch(name) for name in names):
            return family
    if not hasattr(pipeline, "components"):
        raise ValueError(f"{pipeline!r:.80} is no pipeline of diffusers; give the pipeline itself")
    raise ValueError(
        f"{names[0]} cannot be composed: it is not known how it lays out its guidance. Known are the "
        "pipelines of Stable Diffusion 1.x, 2.x, XL and 3, Flux, Qwen-Image, Z-Image and Wan (text, img2img, "
        "inpaint, ControlNet)"
    )


# Lists and tensors without an entry for each row, whatever their length.
_SHARED: Final = frozenset({"img_ids", "txt_ids", "ip_adapter_masks"})


def picked(arguments: Arguments, family: Family, rows: int, places: Sequence[int]) -> dict[str, Any]:
    """The arguments of a call with other rows.

    Args:
        arguments: of the pipeline's call.
        family: of the pipeline.
        rows: how many rows that call has.
        places: for each row of the new call, the number of its row there.
    """

    def pick(name: str, value: Any) -> Any:
        if name in _SHARED:
            return value
        if isinstance(value, Tensor):
            has_rows = value.dim() > 0 and len(value) == rows
            return torch.stack([value[place] for place in places]) if has_rows else value
        if isinstance(value, Mapping):
            return {key: pick(str(key), one) for key, one in value.items()}
        if isinstance(value, list | tuple):
            if name in family.per_row and len(value) == rows:
                return [value[place] for place in places]
            return type(value)(pick("", one) for one in value)
        return value

    return {name: pick(name, value) for name, value in arguments.items()}
