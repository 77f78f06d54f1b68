"""Where the world draws each kind of concept, which nobody knows of real pictures: the control "regional"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from loratorio_lab.evaluate.tasks import Task
from loratorio_lab.world.concepts import FACTOR_OF_CONCEPT

SIDE: Final = 64
"""Of a picture, in pixels."""


def regional(tasks: Sequence[Task]) -> Tensor:
    """[B, N, 64, 64]: 1 where the world draws a concept of this kind (`world.drawing`), else 0."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    shape = torch.hypot(y - 37.0, x - 26.0) < 21
    thing = torch.hypot(y - 13.0, x - 51.0) < 11
    places = {"shape": shape, "texture": shape, "object": thing, "background": ~(shape | thing)}
    of_tasks = [[places[FACTOR_OF_CONCEPT[one].name].float() for one in task.networks] for task in tasks]
    return torch.stack([torch.stack(maps) for maps in of_tasks])
