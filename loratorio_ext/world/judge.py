"""The judge: a small classifier that says which values of every factor a picture holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from loratorio_ext.world.concepts import FACTORS, NONE, Scene
from loratorio_ext.world.dataset import Pictures, judge_pictures

ANSWERS: tuple[tuple[str, ...], ...] = tuple((*factor.values, NONE) for factor in FACTORS)
SPOILED_SHARE = 0.12


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

        self.body = nn.Sequential(
            stage(3, width, 2),
            stage(width, width, 1),
            stage(width, 2 * width, 2),
            stage(2 * width, 2 * width, 1),
            stage(2 * width, 3 * width, 2),
            stage(3 * width, 3 * width, 1),
        )
        # where a thing stands matters (the object has its corner), so the last map is read as a whole
        self.read = nn.Sequential(nn.Conv2d(3 * width, 16, 1), nn.Flatten(), nn.ReLU(inplace=True))
        self.head = nn.Linear(16 * 64 + 3 * width, sum(len(answers) for answers in ANSWERS))

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """``pictures`` [n, 3, 64, 64] in [0, 1] → logits [n, answers] for each factor."""
        seen = self.body(pictures - 0.5)
        logits = self.head(torch.cat((self.read(seen), seen.mean((2, 3))), 1))
        heads: tuple[Tensor, ...] = logits.split([len(answers) for answers in ANSWERS], 1)
        return heads

    @classmethod
    def load(cls, path: Path) -> Judge:
        """Load a judge that :meth:`save` wrote, ready to answer.

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

    def save(self, path: Path) -> None:
        """Write the weights in half precision, as safetensors."""
        tensors = {
            name: tensor.half() for name, tensor in self.state_dict().items() if tensor.is_floating_point()
        }
        unfinished = path.with_suffix(".part")
        save_file(tensors, unfinished)
        unfinished.replace(path)

    @torch.inference_mode()
    def scores(self, images: Sequence[Image.Image] | Tensor) -> list[dict[str, dict[str, float]]]:
        """For each picture and factor, the probability of every answer (they sum to 1).

        ``images``: Pillow pictures of any size, or a tensor [n, 3, 64, 64] in [0, 1].
        """
        pictures = images if isinstance(images, Tensor) else _to_tensor(images)
        logits = [self(part) for part in pictures.float().split(64)]
        heads = [torch.cat(parts).softmax(1).tolist() for parts in zip(*logits, strict=True)]
        return [
            {
                factor.name: dict(zip(answers, head[index], strict=True))
                for factor, answers, head in zip(FACTORS, ANSWERS, heads, strict=True)
            }
            for index in range(len(pictures))
        ]

    def answers(self, images: Sequence[Image.Image] | Tensor) -> list[dict[str, str]]:
        """The likeliest answer of each factor, for each picture."""
        return [
            {factor: max(head, key=lambda value: head[value]) for factor, head in picture.items()}
            for picture in self.scores(images)
        ]


def _to_tensor(images: Sequence[Image.Image]) -> Tensor:
    arrays = [np.asarray(image.convert("RGB").resize((64, 64), Image.Resampling.BICUBIC)) for image in images]
    return torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 255


def _labels(scenes: Sequence[Scene]) -> Tensor:
    return torch.tensor(
        [
            [answers.index(scene[factor.name]) for factor, answers in zip(FACTORS, ANSWERS, strict=True)]
            for scene in scenes
        ]
    )


def _wear(pictures: Tensor, generator: torch.Generator) -> Tensor:
    """Blur, noise, contrast and small shifts: a generated picture is never as crisp as a drawn one."""
    count = len(pictures)

    def chance(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    soft = nn.functional.avg_pool2d(nn.functional.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, 1)
    pictures = torch.lerp(pictures, soft, chance(count, 1, 1, 1))
    pictures = (
        (pictures - 0.5) * (0.85 + 0.3 * chance(count, 1, 1, 1)) + 0.5 + 0.1 * (chance(count, 3, 1, 1) - 0.5)
    )
    pictures = pictures + 0.06 * chance(count, 1, 1, 1) * torch.randn(pictures.shape, generator=generator)
    shift = torch.randint(-2, 3, (2,), generator=generator).tolist()
    return pictures.roll(shift, (2, 3)).clamp(0, 1)


def accuracy(judge: Judge, pictures: Pictures) -> tuple[float, dict[str, float]]:
    """The share of pictures with every factor right, and the share right for each factor alone."""
    answers = judge.answers(pictures.images.float() / 255)
    right = {
        factor.name: [
            answer[factor.name] == scene[factor.name]
            for answer, scene in zip(answers, pictures.scenes, strict=True)
        ]
        for factor in FACTORS
    }
    everything = [all(row) for row in zip(*right.values(), strict=True)]
    return float(np.mean(everything)), {name: float(np.mean(row)) for name, row in right.items()}


def train_judge(*, seed: int, pictures: int, epochs: int, report: Callable[[str], None]) -> Judge:
    """Train on freshly drawn pictures, an eighth of the factors spoiled."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    data = judge_pictures(pictures, np.random.default_rng(seed), spoiled=SPOILED_SHARE)
    labels = _labels(data.scenes)
    judge = Judge().train()
    batch, steps = 64, epochs * (pictures // 64)
    optimizer = torch.optim.AdamW(judge.parameters(), lr=3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    step = 0
    for epoch in range(epochs):
        for rows in torch.randperm(pictures, generator=generator).split(batch):
            if len(rows) < batch:
                continue
            heads = judge(_wear(data.images[rows].float() / 255, generator))
            loss = torch.stack(
                [nn.functional.cross_entropy(head, labels[rows, k]) for k, head in enumerate(heads)]
            ).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
        report(f"judge: epoch {epoch + 1}/{epochs}, loss {loss.item():.3f}")
    return judge.eval()
