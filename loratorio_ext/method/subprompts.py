"""AND sub-prompts: several conditional rows for one image."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Subprompts:
    """Which image each conditional row belongs to, and its AND weight.

    Attributes:
        images: image number of each row, 0 or more; length R.
        weights: AND weight of each row, finite, of any sign; length R.

    Raises:
        ValueError: lengths that differ, no row, a negative image, a weight that is not finite.
    """

    images: tuple[int, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.images or len(self.images) != len(self.weights):
            raise ValueError(
                f"Subprompts has {len(self.images)} images and {len(self.weights)} weights; "
                "give one of each for every conditional row, at least one row"
            )
        if not all(_is_image(image) for image in self.images):
            raise ValueError(f"Subprompts.images is {self.images}; give whole numbers of 0 or more")
        if not all(math.isfinite(weight) for weight in self.weights):
            raise ValueError(f"Subprompts.weights is {self.weights}; give finite numbers")

    def shares(self, image: int) -> dict[int, float]:
        """Part of each row of an image in the image's mean: |weight| over their sum, equal if all are 0."""
        rows = [row for row, owner in enumerate(self.images) if owner == image]
        largest = max(abs(self.weights[row]) for row in rows)
        if largest == 0:
            return {row: 1 / len(rows) for row in rows}
        # Divided by the largest first, because a sum of huge weights may overflow.
        parts = {row: abs(self.weights[row]) / largest for row in rows}
        total = sum(parts.values())
        return {row: part / total for row, part in parts.items()}


def _is_image(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
