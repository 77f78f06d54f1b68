"""What to draw, checked before any work; and what comes back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
from PIL import Image
from torch import Tensor

from loratorio_ext.networks.files import NetworkFolder
from loratorio_ext.networks.prompt import WEIGHED, Tag, parse_prompt
from loratorio_ext.run import Method, Report
from loratorio_ext.settings import Settings

MAX_STEPS: Final = 1000
MAX_CFG: Final = 1000.0
MAX_SIDE: Final = 8192
MAX_HIRES_SCALE: Final = 8.0
MAX_SEED: Final = 2**63 - 1
# As the WebUIs take a strength of 1 (modules/sd_samplers_common.py, setup_img2img_steps).
_STRONGEST: Final = 0.999


@dataclass(frozen=True)
class Request:
    """One batch of pictures.

    Attributes:
        prompts: One text per picture, with <lora:name:strength> tags. The first prompt's tags count for the
            whole batch, as in the WebUI. One prompt with several seeds is drawn once per seed.
        negative_prompt: What to keep away from, for every picture; tags in it are taken out and ignored.
        steps: Steps of the sampler, 1 to 1000.
        cfg: Scale of classifier-free guidance, 1 to 1000; 1 means none, and no unconditional is predicted.
        seeds: One per picture, 0 to 2⁶³ − 1. A seed gives the same noise at every place of every batch.
        width, height: In pixels, multiples of the model's factor (8, as a rule); None: the model's own.
        sampler: None (the model's), a name (see `DiffusersHost.samplers`), or a scheduler of diffusers.
        settings: Settings of the composition. `enabled` is the WebUI's switch and is not read here.
        method: "loratorio", or one of the usual ways to compare with: "base", "merge", "switch", "composite".
        switch_every: Evaluations after which Switch moves on to the next network, at least 1.
        network_dir: Folder where the networks of tags and pool are looked up; needed if there is any.
        maps: Where the composed networks act, in their order, [N, H, W] or for each picture [B, N, H, W]:
            what a network adds is multiplied by its map (0: nothing, 1: all), brought to the latent's size.
            None: they are found, as the settings say.
        image: The picture to start from (img2img), brought to the size by scaling and cropping; None: noise.
        denoising_strength: How much of the picture to start from becomes noise, 0 to 1; of the first steps so
            many are left out, as in the WebUIs. Counts with `image` or `hires_scale` alone.
        hires_scale: Above 1, at most 8: a second pass (Hires. fix) draws the latents again, made larger by
            this factor; it begins with the maps of the first. Not together with `image`.
        hires_steps: Steps of the second pass, all of which are drawn; 0: as many as `steps`.
    """

    prompts: Sequence[str]
    negative_prompt: str = ""
    steps: int = 30
    cfg: float = 7.0
    seeds: Sequence[int] = (0,)
    width: int | None = None
    height: int | None = None
    sampler: Any = None
    settings: Settings = field(default_factory=Settings)
    method: Method = "loratorio"
    switch_every: int = 5
    network_dir: Path | str | None = None
    maps: Tensor | None = None
    image: Image.Image | None = None
    denoising_strength: float = 0.75
    hires_scale: float = 1.0
    hires_steps: int = 0

    def __post_init__(self) -> None:
        """Numbers of NumPy become Python's, also those of a sequence or an array of seeds."""
        for name, value in vars(self).items():
            if isinstance(value, np.generic) or (name == "seeds" and isinstance(value, np.ndarray)):
                object.__setattr__(self, name, value.tolist())
        if isinstance(self.seeds, (list, tuple)):
            plain = [one.item() if isinstance(one, np.generic) else one for one in self.seeds]
            object.__setattr__(self, "seeds", type(self.seeds)(plain))


@dataclass(frozen=True)
class Result:
    """The pictures of one request.

    images: one per seed, in order. latents: [B, C, H, W] as the sampler left them, before the VAE, in the
    UNet's dtype, on its device. sampler: the name by which the sampler that was used can be asked for.
    hashes: name in the tag → hash of the network's file, as the WebUIs write it. hires_report: of the second
    pass, if there was one.
    """

    images: list[Image.Image]
    latents: Tensor
    report: Report
    sampler: str = ""
    hashes: Mapping[str, str] = field(default_factory=dict)
    hires_report: Report | None = None


@dataclass(frozen=True)
class PlannedPass:
    """size: width and height in pixels. steps: of the whole schedule; the first `skipped` are left out."""

    size: tuple[int, int]
    steps: int
    skipped: int = 0


@dataclass(frozen=True)
class ParsedRequest:
    """A request that passed its checks.

    texts, seeds: one per picture, without tags. negative: without tags; None: no unconditional predictions.
    tags: of the first prompt. folder: None only without networks. passes: the first, and
    the hires pass if there is one.
    """

    texts: tuple[str, ...]
    negative: str | None
    tags: tuple[Tag, ...]
    folder: NetworkFolder | None
    seeds: Sequence[int]
    passes: Sequence[PlannedPass]
    warnings: Sequence[str]


def parse_request(
    request: Request, factor: int, default_size: tuple[int, int], guidable: bool
) -> ParsedRequest:
    """Check everything that can be checked without the model.

    factor: pixels per latent pixel. default_size: the model's own width and height in pixels. guidable: False
    for models that take the guidance scale as an input and need no unconditional. Raises ValueError, which
    names the value, the allowed range and the remedy.
    """
    asked: Any = request  # its values may be anything yet
    prompts, negative_prompt, seeds, cfg = asked.prompts, asked.negative_prompt, asked.seeds, asked.cfg
    if isinstance(prompts, str):
        prompts = (prompts,)
    if not isinstance(prompts, Sequence) or not prompts or not all(isinstance(text, str) for text in prompts):
        raise ValueError(f"prompts is {prompts!r}; it must hold at least one text.")
    if not isinstance(negative_prompt, str):
        raise ValueError(f'negative_prompt is {negative_prompt!r}; it must be a text, "" for none.')
    for name, text in (*(("prompts", text) for text in prompts), ("negative_prompt", negative_prompt)):
        # A terminal hands over bytes that are no UTF-8 as lone surrogates, which no tokenizer takes.
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(f"{name} is {text[:60]!r}, which is not valid UTF-8; write it as UTF-8.")
    if not isinstance(seeds, Sequence) or isinstance(seeds, str) or not seeds:
        hint = f"[{seeds}]" if isinstance(seeds, Integral) else "[0, 1]"
        raise ValueError(f"seeds is {seeds!r}; it must hold at least one whole number, such as {hint}.")
    for seed in seeds:
        _check_whole("seed", seed, 0, MAX_SEED)
    if len(prompts) == 1:
        prompts = [*prompts] * len(seeds)
    if len(prompts) != len(seeds):
        reason = f"{len(prompts)} prompts with {len(seeds)} seeds"
        raise ValueError(f"{reason}: give one seed per prompt, or one prompt alone.")
    _check_whole("steps", request.steps, 1, MAX_STEPS)
    _check_whole("switch_every", request.switch_every, 1, MAX_STEPS)
    if request.method not in get_args(Method):
        raise ValueError(f"method is {request.method!r}; it must be one of: {', '.join(get_args(Method))}.")
    _check_number("cfg", cfg, 1, MAX_CFG, " (no guidance)")
    if not isinstance(asked.settings, Settings):
        kind = type(asked.settings).__name__
        raise ValueError(f"settings is a {kind}; it must be a loratorio_ext Settings.")
    width = _side("width", request.width, default_size[0], factor)
    height = _side("height", request.height, default_size[1], factor)
    passes = tuple(_passes(request, (width, height), factor))

    first, *others = [parse_prompt(prompt) for prompt in prompts]
    warnings = list(first.problems)
    warnings += [f"ignored the tag <{tag.kind}:…>: only lora tags work here" for tag in first.others]
    different = [str(n) for n, prompt in enumerate(others, 2) if prompt.tags and prompt.tags != first.tags]
    if different:
        warnings.append(
            "The first prompt's networks are used for all pictures; the tags of prompt "
            f"{', '.join(different)} differ and are ignored."
        )
    negative = parse_prompt(negative_prompt)
    if negative.tags or negative.others:
        warnings.append("Tags in the negative prompt have no effect.")
    guided = guidable and request.cfg > 1
    if negative.text.strip() and not guided:
        why = (
            "the CFG scale is 1, which means no guidance" if guidable else "this model needs no unconditional"
        )
        warnings.append(f"The negative prompt has no effect: {why}.")
    texts = tuple(prompt.text.strip() for prompt in (first, *others))
    if any(WEIGHED.search(text) for text in texts):
        warnings.append("Weights such as (…:1.3), […] and AND are read as plain text here.")
    without = negative.text.strip() if guided else None
    folder = _folder(request.network_dir, first.tags, request.settings.pool)
    return ParsedRequest(texts, without, first.tags, folder, seeds, passes, warnings)


def _passes(request: Request, size: tuple[int, int], factor: int) -> Iterator[PlannedPass]:
    """The first pass, and the hires pass if there is one; ValueError as `parse_request`."""
    asked: Any = request
    strength, scale, steps = asked.denoising_strength, asked.hires_scale, request.steps
    _check_number("denoising_strength", strength, 0, 1)
    _check_number("hires_scale", scale, 1, MAX_HIRES_SCALE, " (no second pass)")
    _check_whole("hires_steps", request.hires_steps, 0, MAX_STEPS)
    if asked.image is not None and not isinstance(asked.image, Image.Image):
        raise ValueError(f"image is a {type(asked.image).__name__}; it must be a picture of Pillow, or None.")
    if request.image is not None and scale > 1:
        raise ValueError(
            f"There is a picture to start from and Hires. fix (hires_scale is {scale:g}), which do not go "
            "together, as in the WebUIs: take the picture away, or set the scale to 1."
        )
    strength = min(strength, _STRONGEST)
    yield PlannedPass(size, steps, 0 if request.image is None else steps - 1 - int(strength * steps))
    if scale > 1:
        steps = request.hires_steps or steps
        whole = int(steps / strength) if strength > 0 else MAX_STEPS + 1
        if whole > MAX_STEPS:
            raise ValueError(
                f"{steps} hires steps at a denoising_strength of {strength:g} are the last of more than "
                f"{MAX_STEPS}; take fewer, or a higher strength."
            )
        larger = int(size[0] * scale) // factor * factor, int(size[1] * scale) // factor * factor
        if max(larger) > MAX_SIDE:
            raise ValueError(
                f"hires_scale is {scale:g}, which makes pictures of {larger[0]} × {larger[1]} pixels; a side "
                f"must be at most {MAX_SIDE}."
            )
        yield PlannedPass(larger, whole, whole - steps)


def _check_number(name: str, value: object, lowest: float, highest: float, about: str = "") -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not lowest <= value <= highest:
        raise ValueError(f"{name} is {value!r}; it must be a number from {lowest:g}{about} to {highest:g}.")


def _check_whole(name: str, value: object, lowest: int, highest: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise ValueError(f"{name} is {value!r}; it must be a whole number from {lowest} to {highest}.")


def _side(name: str, value: int | None, default: int, factor: int) -> int:
    if value is None:
        return default
    _check_whole(name, value, factor, MAX_SIDE)
    if value % factor:
        below = value - value % factor
        must = f"it must be a multiple of {factor} for this model, such as {below} or {below + factor}."
        raise ValueError(f"{name} is {value}; {must}")
    return value


def _folder(network_dir: Path | str | None, tags: Sequence[Tag], pool: str) -> NetworkFolder | None:
    if network_dir is None:
        if tags:
            name = tags[0].name
            raise ValueError(f"The prompt names the network {name!r}: give network_dir, where it lies.")
        if pool:
            raise ValueError(f"The pool is {pool!r}: give network_dir, where its networks lie.")
        return None
    if not Path(network_dir).is_dir():
        raise ValueError(f"network_dir is {str(network_dir)!r}, which is not a folder.")
    return NetworkFolder(network_dir)
