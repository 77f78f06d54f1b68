"""The choice of networks per image that holds between two scans of the whole pool."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from loratorio_ext.run.evaluation import Layout


def mean_per_image(values: Tensor, layout: Layout) -> Tensor:
    """Mean over the rows of each image, by their AND shares.

    Args:
        values: [N, R], one number for each network and conditional row.
        layout: which row belongs to which image.

    Returns:
        [N, B]. Rows without a share do not count at all, not even when they are infinite.
    """
    images = []
    for shares in layout.shares:
        parts = [share * values[:, row] for row, share in shares.items() if share > 0]
        images.append(torch.stack(parts).sum(0))
    return torch.stack(images, dim=1)


def for_rows(mask: Tensor, layout: Layout) -> Tensor:
    """What holds for images, bool [N, B], for the conditional rows of each; bool [N, R]."""
    return torch.stack([mask[:, image] for image in layout.image_of], dim=1)


@dataclass(frozen=True)
class Choice:
    """Networks chosen for each image.

    Attributes:
        mask: bool [N, B], on the model's device.
        networks: the same for the host: for each image its networks, ascending.
    """

    mask: Tensor
    networks: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, mask: Tensor) -> Choice:
        """Read a mask [N, B]. The one place where a step waits for the device."""
        columns = mask.T.tolist()
        return cls(mask, tuple(tuple(i for i, chosen in enumerate(column) if chosen) for column in columns))

    def for_rows(self, layout: Layout) -> Tensor:
        """The choice of each conditional row, which is its image's; bool [N, R]."""
        return for_rows(self.mask, layout)
