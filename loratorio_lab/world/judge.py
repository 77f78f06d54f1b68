"""Training and testing of the judge, which itself is the extension's (`loratorio demo` needs it)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from loratorio_ext.cli.judge import FACTORS, Judge
from loratorio_lab.world.concepts import Scene
from loratorio_lab.world.dataset import Pictures, judge_pictures

SPOILED_SHARE = 0.12


def likeliest(scores: Mapping[str, Mapping[str, float]]) -> dict[str, str]:
    """The judge's likeliest answer of each factor, from its probabilities."""
    return {factor: max(seen, key=lambda value: seen[value]) for factor, seen in scores.items()}


def save_judge(judge: Judge, path: Path) -> None:
    """Write the weights in half precision, as safetensors."""
    tensors = {
        name: tensor.half() for name, tensor in judge.state_dict().items() if tensor.is_floating_point()
    }
    unfinished = path.with_suffix(".part")
    save_file(tensors, unfinished)
    unfinished.replace(path)


def _labels(scenes: Sequence[Scene]) -> Tensor:
    return torch.tensor(
        [[factor.answers.index(scene[factor.name]) for factor in FACTORS] for scene in scenes]
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
    answers = [likeliest(scores) for scores in judge.scores(pictures.images.float() / 255)]
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
