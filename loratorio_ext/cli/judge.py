"""The judge of the embedded world: a small classifier that says what a picture holds.

Its training is the laboratory's; the weights lie beside the embedded model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

NONE: Final = "none"
"""What the judge answers where a picture holds no value of a factor that has a name."""


@dataclass(frozen=True)
class Factor:
    """One thing that a caption of the embedded world says about a picture.

    Attributes:
        name: "shape", for example.
        known: the values that the base model is taught.
        concepts: the values that only a network is taught; each concept's own name is its trigger word.
    """

    name: str
    known: tuple[str, ...]
    concepts: tuple[str, ...] = ()

    @property
    def values(self) -> tuple[str, ...]:
        """All values that a caption can name."""
        return self.known + self.concepts

    @property
    def answers(self) -> tuple[str, ...]:
        """What the judge can answer, in the order of its outputs."""
        return (*self.values, NONE)


FACTORS: Final = (
    Factor("color", ("red", "orange", "green", "blue", "purple")),
    Factor("texture", ("plain", "striped", "dotted"), ("checkered", "ringed")),
    Factor("shape", ("circle", "square", "triangle"), ("star", "heart")),
    Factor("background", ("sky", "sand", "night"), ("sunset", "grid")),
    Factor("object", ("ball", "box", "kite"), ("moon", "flower")),
)


class Judge(nn.Module):
    """One head a factor, each with the factor's values and "none of these"."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()

        def stage(inside: int, outside: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(inside, outside, 3, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(outside),
                nn.ReLU(inplace=True),
            )

        wide = (3, width, width, 2 * width, 2 * width, 3 * width, 3 * width)  # channels between the stages
        strides = (2, 1, 2, 1, 2, 1)
        self.body = nn.Sequential(*map(stage, wide, wide[1:], strides))
        # where a thing stands matters (the object has its corner), so the last map is read as a whole
        self.read = nn.Sequential(nn.Conv2d(3 * width, 16, 1), nn.Flatten(), nn.ReLU(inplace=True))
        self.head = nn.Linear(16 * 64 + 3 * width, sum(len(factor.answers) for factor in FACTORS))

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """``pictures`` [n, 3, 64, 64] in [0, 1] → logits [n, answers] for each factor."""
        seen = self.body(pictures - 0.5)
        logits = self.head(torch.cat((self.read(seen), seen.mean((2, 3))), 1))
        heads: tuple[Tensor, ...] = logits.split([len(factor.answers) for factor in FACTORS], 1)
        return heads

    @classmethod
    def load(cls, path: Path) -> Judge:
        """Load the weights that the training wrote, ready to answer.

        Raises:
            ValueError: the file holds something else.
        """
        judge = cls()
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
        expected = {name: t.shape for name, t in judge.state_dict().items() if t.is_floating_point()}
        if {name: tensor.shape for name, tensor in tensors.items()} != expected:
            raise ValueError(f"{path} does not hold this judge's weights; make them with train-demo")
        judge.load_state_dict(tensors, strict=False)  # the counters of batches are not saved
        return judge.eval()

    @torch.inference_mode()
    def scores(self, images: Sequence[Image.Image] | Tensor) -> list[dict[str, dict[str, float]]]:
        """For each picture and factor, the probability of every answer (they sum to 1).

        Args:
            images: Pillow pictures of any size, or a tensor [n, 3, 64, 64] in [0, 1].
        """
        pictures = images if isinstance(images, Tensor) else _to_tensor(images)
        logits = [self(part) for part in pictures.float().split(64)]
        heads = [torch.cat(parts).softmax(1).tolist() for parts in zip(*logits, strict=True)]
        return [
            {
                factor.name: dict(zip(factor.answers, head[index], strict=True))
                for factor, head in zip(FACTORS, heads, strict=True)
            }
            for index in range(len(pictures))
        ]


def _to_tensor(images: Sequence[Image.Image]) -> Tensor:
    arrays = [np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BICUBIC)) for image in images]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 255
