"""The predictions of one step, sorted by source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from loratorio_ext.run.evaluation import Layout, Prediction
from loratorio_ext.run.rows import Row, Source


class Outputs:
    """Looks up predictions by source; works by Python lists alone, so that no device is waited for."""

    def __init__(self, predictions: Mapping[Row, Tensor], layout: Layout) -> None:
        """Take over predictions [C, H, W] by row."""
        self._predictions = predictions
        self._layout = layout

    def of(self, source: Source) -> Prediction:
        """All rows of one source: cond [R, C, H, W], uncond [B, C, H, W] or None without guidance."""
        return Prediction(self.cond(source), self.uncond(source) if self._layout.guided else None)

    def cond(self, source: Source) -> Tensor:
        """Conditional predictions [R, C, H, W]; the base's in rows that were not evaluated."""
        rows = range(self._layout.cond_rows)
        return torch.stack([self._row(source, Row(source, "cond", row)) for row in rows])

    def uncond(self, source: Source) -> Tensor:
        """Unconditional predictions [B, C, H, W]; the base's in images that were not evaluated."""
        images = range(self._layout.images)
        return torch.stack([self._row(source, Row(source, "uncond", image)) for image in images])

    def conds(self, networks: Sequence[int]) -> Tensor:
        """Conditional predictions of several networks, [N, R, C, H, W]."""
        return torch.stack([self.cond(network) for network in networks])

    def unconds(self, networks: Sequence[int]) -> Tensor:
        """Unconditional predictions of several networks, [N, B, C, H, W]."""
        return torch.stack([self.uncond(network) for network in networks])

    def _row(self, source: Source, row: Row) -> Tensor:
        prediction = self._predictions.get(row)
        if prediction is not None:
            return prediction
        return self._predictions[Row("base", row.half, row.index)]
