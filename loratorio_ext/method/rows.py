"""Which image each conditional row belongs to: with AND sub-prompts an image has several rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True)
class RowMap:
    """The image and the AND weight of each of R conditional rows; B images have one unconditional row each.

    Attributes:
        image_of: image of each row, 0 … B − 1, in any order; length R. Every image has at least one row.
        weights: AND weight of each row, finite, of any sign; length R.
        cond_rows: number of conditional rows R.
        images: number of images B.
        is_one_each: whether row b is image b.

    Raises:
        ValueError: the lengths differ, there is no row, an image has no row, or a weight is not finite.
    """

    image_of: tuple[int, ...]
    weights: tuple[float, ...]
    cond_rows: int = field(init=False)
    images: int = field(init=False)
    is_one_each: bool = field(init=False)

    def __post_init__(self) -> None:
        if not self.image_of or len(self.image_of) != len(self.weights):
            raise ValueError(
                f"RowMap has {len(self.image_of)} images and {len(self.weights)} weights; "
                "give one of each for every conditional row, at least one row"
            )
        if min(self.image_of) < 0 or {type(image) for image in self.image_of} != {int}:
            raise ValueError(f"RowMap.image_of is {self.image_of}; give whole numbers of 0 or more")
        object.__setattr__(self, "cond_rows", len(self.image_of))
        object.__setattr__(self, "images", max(self.image_of) + 1)
        object.__setattr__(self, "is_one_each", self.image_of == tuple(range(len(self.image_of))))
        if len(set(self.image_of)) != self.images:
            raise ValueError(
                f"RowMap.image_of is {self.image_of}; every image from 0 to {self.images - 1} needs a row"
            )
        if not all(map(math.isfinite, self.weights)):
            raise ValueError(f"RowMap.weights is {self.weights}; give finite numbers")

    @classmethod
    def one_each(cls, images: int) -> RowMap:
        """Without AND: row b is image b."""
        return cls(tuple(range(images)), (1.0,) * images)

    @cached_property
    def shares(self) -> tuple[Mapping[int, float], ...]:
        """For each image its rows, and the share of each in the image's mean.

        A share is |weight| over the sum of the image's, equal if all are 0; an image's shares sum to 1.
        """
        return tuple(self._shares(image) for image in range(self.images))

    def _shares(self, image: int) -> dict[int, float]:
        rows = [row for row, owner in enumerate(self.image_of) if owner == image]
        largest = max(abs(self.weights[row]) for row in rows)
        if largest == 0:
            return {row: 1 / len(rows) for row in rows}
        # Divided by the largest first, because a sum of huge weights may overflow.
        parts = {row: abs(self.weights[row]) / largest for row in rows}
        total = sum(parts.values())
        return {row: part / total for row, part in parts.items()}

    def of_rows(self, images: Tensor) -> Tensor:
        """Values of images, [N, B], given to the conditional rows of each; [N, R]."""
        if self.is_one_each:
            return images
        return torch.stack([images[:, image] for image in self.image_of], dim=1)

    def of_images(self, rows: Tensor) -> Tensor:
        """Whether flags of conditional rows, bool [N, R], are set in all rows of each image; [N, B]."""
        if self.is_one_each:
            return rows
        # Row by row: an index that is a list would be copied to the device, and waited for.
        images = [torch.stack([rows[:, row] for row in shares]).all(dim=0) for shares in self.shares]
        return torch.stack(images, dim=1)

    def mean(self, rows: Tensor) -> Tensor:
        """Mean over the rows of each image, by their shares: [N, R] → [N, B].

        Rows without a share do not count at all, not even when they are infinite.
        """
        if self.is_one_each:
            return rows
        images = [
            torch.stack([share * rows[:, row] for row, share in shares.items() if share > 0]).sum(dim=0)
            for shares in self.shares
        ]
        return torch.stack(images, dim=1)
