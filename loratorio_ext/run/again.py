"""What a step made of its sources' predictions, for hosts in which others ask the model once more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from loratorio_ext.method import Aggregation
from loratorio_ext.run.rows import Half, Source
from loratorio_ext.run.wide import wide


@dataclass(frozen=True, eq=False)
class Again:
    """Predicts further inputs of a step's noise level as that step did, with its weights.

    Guidance that perturbs the model or its input (PAG, SAG) looks at the difference to the step's own
    prediction. With the same sources and weights on both sides, only the perturbation is in it.

    One of the three says how:

    Attributes:
        aggregation: of the networks' predictions.
        added: what the networks added to the base's conditional and unconditional predictions, which is added
            again: float32 or float64, [R, C, H, W] and [B, C, H, W].
        source: the one source whose predictions were taken as they are.
    """

    aggregation: Aggregation | None = None
    added: tuple[Tensor, Tensor | None] | None = None
    source: Source = "base"

    def sources(self, half: Half, rows: slice) -> tuple[Source, ...]:
        """Which sources' predictions are needed; waits for the device once.

        Args:
            half: conditional or unconditional predictions.
            rows: which conditional rows; for "uncond" not read.
        """
        if self.aggregation is None:
            return ("base",) if self.added is not None else (self.source,)
        if half == "uncond" and self.aggregation.recenter == 1:
            return ("base",)
        weights = self.aggregation.weights[:, rows if half == "cond" else slice(None)]
        speaking = (weights > 0).flatten(1).any(dim=1).tolist()
        return ("base", *(network for network, speaks in enumerate(speaking) if speaks))

    def prediction(self, half: Half, rows: slice, predictions: Mapping[Source, Tensor]) -> Tensor:
        """The further prediction.

        Args:
            half: conditional or unconditional predictions.
            rows: which conditional rows; for "uncond" not read.
            predictions: of `sources`, each [rows, C, H, W] of the step's C, H and W ("uncond": one for each
                image), in the space of the step's predictions. Where a network's is not finite, the base's is
                taken.

        Returns:
            [rows, C, H, W], the dtype of the predictions.
        """
        if self.aggregation is None and self.added is None:
            return predictions[self.source]
        base = predictions["base"]
        dtype = base.dtype
        base = wide(base)
        if self.added is not None:
            cond, uncond = self.added
            added = cond[rows] if half == "cond" else uncond
            return (base if added is None else base + added).to(dtype)
        return self._aggregated(half, rows, base, predictions).to(dtype)

    def _aggregated(
        self, half: Half, rows: slice, base: Tensor, predictions: Mapping[Source, Tensor]
    ) -> Tensor:
        if self.aggregation is None:
            raise RuntimeError("the step did not aggregate")
        # A network that was not asked for has no weight, so the base's prediction serves as its own.
        networks = torch.stack(
            [
                _finite(predictions[network].to(base), base) if network in predictions else base
                for network in range(len(self.aggregation.weights))
            ]
        )
        if half == "cond":
            return self.aggregation.cond(base, networks, rows)
        return self.aggregation.uncond(base, networks)


def _finite(prediction: Tensor, base: Tensor) -> Tensor:
    return torch.where(prediction.isfinite(), prediction, base)
