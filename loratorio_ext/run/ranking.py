"""Dynamic selection over a generation: which networks differ most from the base, at this step or so far."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from loratorio_ext.method import RowMap, select_top_k

Score = Literal["history", "step"]


@dataclass(frozen=True)
class ChosenNetworks:
    """Networks chosen for each image, until the next scan of the whole pool.

    Attributes:
        mask: bool [N, B], on the model's device.
        of_images: the same as Python numbers: for each image its networks, ascending.
    """

    mask: Tensor
    of_images: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, mask: Tensor) -> ChosenNetworks:
        """Read a mask [N, B]. The one place where a step waits for the device."""
        columns = mask.T.tolist()
        return cls(mask, tuple(tuple(i for i, chosen in enumerate(column) if chosen) for column in columns))


class Ranking:
    """Chooses networks for each image, and remembers how much each of them diverged.

    The ranks of one step alone change from step to step, and near the end networks that change everything (a
    background, a style) rank above those that change one place. With "history" every scan so far counts
    equally: a network's score is the sum of its shares of each scan's divergence. With "step" it is the mean
    divergence of the current step, as in the paper.
    """

    def __init__(self, score: Score) -> None:
        self._score = score
        self._history: Tensor | None = None

    @property
    def remembers(self) -> bool:
        """Whether earlier steps count."""
        return self._score == "history"

    def most_divergent(
        self, divergence: Tensor, finite: Tensor, rows: RowMap, count: int, fresh: bool = True
    ) -> Tensor:
        """The ``count`` networks with the highest score, for each image.

        Args:
            divergence: 1 − s, [N, R, h, w], without the rounding of s.
            finite: [N, R]; False: not usable, chosen last.
            rows: which row belongs to which image.
            count: k, 1 … N.
            fresh: whether the networks were evaluated at this step; otherwise it does not count again.

        Returns:
            bool [N, B], exactly ``count`` networks True for each image; of equal ones the earlier.
        """
        of_rows = divergence.mean(dim=(-2, -1)).masked_fill(~finite, -torch.inf)
        score = rows.mean(of_rows)
        if self.remembers:
            score = self._with_history(score, fresh).masked_fill(score == -torch.inf, -torch.inf)
        everything = torch.ones_like(score, dtype=torch.bool)
        return select_top_k(-score[:, :, None, None], count, "image", everything)[:, :, 0, 0]

    def _with_history(self, mean: Tensor, fresh: bool) -> Tensor:
        """Sum over the steps of each network's share of the step's divergence, [N, B]."""
        known = self._history
        if known is None or known.shape != mean.shape:  # a different number of images is another batch
            known = torch.zeros_like(mean)
            fresh = True
        if fresh:
            usable = mean.clamp(min=0.0)
            total = usable.sum(dim=0)
            known = known + usable / total.masked_fill(total == 0, 1.0)
        self._history = known
        return known
