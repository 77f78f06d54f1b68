"""What every network must show before it is shipped, judged on pictures it draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from loratorio_ext.cli.judge import FACTORS, Judge
from loratorio_lab.world.concepts import FACTOR_OF_CONCEPT, caption, random_scene
from loratorio_lab.world.judge import likeliest

GUIDANCE = 4.0
LEAST_WITH_TRIGGER = 0.95
MOST_WITHOUT_TRIGGER = 0.05


@dataclass(frozen=True)
class Gate:
    """Shares of pictures, in [0, 1].

    ``with_trigger``: the concept is there when the caption has the trigger word. ``without_trigger``: it is
    there although the caption names a known value. ``rest`` and ``base_rest``: all the other named values
    are right, by the network with its trigger and by the base model with a known value in its place.
    ``base_unaided``: the base model draws the concept from the trigger word without the network.
    """

    with_trigger: float
    without_trigger: float
    rest: float
    base_rest: float
    base_unaided: float

    @property
    def passed(self) -> bool:
        """Whether the network may be shipped."""
        return self.with_trigger >= LEAST_WITH_TRIGGER and self.without_trigger <= MOST_WITHOUT_TRIGGER

    def to_dict(self) -> dict[str, float]:
        """The five shares by name."""
        return asdict(self)


@torch.inference_mode()
def pictures(pipeline: StableDiffusionPipeline, captions: Sequence[str], steps: int, seed: int) -> Tensor:
    """Draw the captions with the pipeline as it stands: float32 [n, 3, 64, 64] in [0, 1]."""
    parts = []
    for start in range(0, len(captions), 32):
        part = list(captions[start : start + 32])
        seeds = [torch.Generator().manual_seed(seed + start + index) for index in range(len(part))]
        drawn = pipeline(
            part, num_inference_steps=steps, guidance_scale=GUIDANCE, generator=seeds, output_type="pt"
        ).images
        parts.append(drawn)
    return torch.cat(parts).float()


def measure(
    pipeline: StableDiffusionPipeline, judge: Judge, concept: str, *, count: int, steps: int, seed: int
) -> Gate:
    """Judge ``count`` pictures of ``steps`` sampling steps for each share.

    The pipeline's UNet holds the network as its adapter.
    """
    random = np.random.default_rng(seed)
    factor = FACTOR_OF_CONCEPT[concept].name
    known = [random_scene(random) for _ in range(count)]
    asked = [{**scene, factor: concept} for scene in known]

    def answers(scenes: Sequence[dict[str, str]]) -> list[dict[str, str]]:
        drawn = pictures(pipeline, [caption(scene) for scene in scenes], steps, seed)
        return [likeliest(scores) for scores in judge.scores(drawn)]

    def rest(scenes: Sequence[dict[str, str]], seen: Sequence[dict[str, str]]) -> float:
        names = [other.name for other in FACTORS if other.name != factor]
        return float(np.mean([all(s[n] == a[n] for n in names) for s, a in zip(scenes, seen, strict=True)]))

    def share(seen: Sequence[dict[str, str]]) -> float:
        return float(np.mean([answer[factor] == concept for answer in seen]))

    with_trigger, without_trigger = answers(asked), answers(known)
    pipeline.unet.disable_adapters()
    try:
        base_asked, base_known = answers(asked), answers(known)
    finally:
        pipeline.unet.enable_adapters()
    return Gate(
        with_trigger=share(with_trigger),
        without_trigger=share(without_trigger),
        rest=rest(asked, with_trigger),
        base_rest=rest(known, base_known),
        base_unaided=share(base_asked),
    )
