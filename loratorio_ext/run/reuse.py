"""A step's results used again: in the steps between evaluations, and where the model is called once more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from loratorio_ext.method import Aggregation, upcast
from loratorio_ext.run.evaluation import Branch, Row, Source


class ResidualCache:
    """Keeps e_i − e_θ of every network's rows, to stand in for them in the steps between evaluations.

    What a network adds to the predicted noise changes slowly from step to step, while predictions
    themselves, and differences in other spaces, change with the noise level. So residuals are kept as noise.
    """

    def __init__(self) -> None:
        self._residuals: dict[Row, Tensor] = {}

    def covers(self, rows: Iterable[Row]) -> bool:
        """Whether there is a residual for every row of a network among ``rows``."""
        return all(row in self._residuals for row in rows if row.source != "base")

    def keep(self, predictions: Mapping[Row, Tensor], noise_scale: float | Tensor) -> None:
        """Keep what the networks among the predictions [C, H, W] added to the base's.

        Args:
            predictions: by row; the base's are among them.
            noise_scale: predicted noise per unit of prediction at this step; above 0.
        """
        for row, prediction in predictions.items():
            if row.source != "base":
                base = upcast(predictions[Row("base", row.branch, row.index)])
                self._residuals[row] = (upcast(prediction) - base) * noise_scale

    def completed(
        self, predictions: Mapping[Row, Tensor], rows: Iterable[Row], noise_scale: float | Tensor
    ) -> dict[Row, Tensor]:
        """The predictions, and for each row of a network that lacks one, the base's plus its residual."""
        everything = dict(predictions)
        for row in rows:
            if row not in everything:
                base = predictions[Row("base", row.branch, row.index)]
                everything[row] = (upcast(base) + self._residuals[row] / noise_scale).to(base.dtype)
        return everything


@dataclass(frozen=True, eq=False)
class FrozenComposition:
    """Predicts further inputs at a step's noise level as that step did, with its weights.

    Guidance that perturbs the model or its input (PAG, SAG) uses the difference from the step's own
    prediction. With the same sources and weights on both sides, only the perturbation makes that difference.

    Attributes:
        aggregation: of the networks' predictions.
        residual: without one, what the networks added to the base's conditional and unconditional
            predictions, to be added again: float32 or float64, [R, C, H, W] and [B, C, H, W].
        source: without either, the one source whose predictions were taken as they are.
        uncond_source: the same for the unconditional predictions.
    """

    aggregation: Aggregation | None = None
    residual: tuple[Tensor, Tensor | None] | None = None
    source: Source = "base"
    uncond_source: Source = "base"

    def sources(self, branch: Branch, rows: slice) -> tuple[Source, ...]:
        """Which sources' predictions are needed; waits for the device once.

        Args:
            branch: conditional or unconditional predictions.
            rows: which conditional rows; not read for "uncond".
        """
        if self.aggregation is None:
            return ("base",) if self.residual is not None else (self._source(branch),)
        if branch == "uncond" and self.aggregation.recenter == 1:
            return ("base",)
        weights = self.aggregation.weights[:, rows if branch == "cond" else slice(None)]
        speaking = (weights > 0).flatten(1).any(dim=1).tolist()
        return ("base", *(network for network, speaks in enumerate(speaking) if speaks))

    def prediction(self, branch: Branch, rows: slice, predictions: Mapping[Source, Tensor]) -> Tensor:
        """The further prediction.

        Args:
            branch: conditional or unconditional predictions.
            rows: which conditional rows; not read for "uncond".
            predictions: of `sources`, each [rows, C, H, W] with the step's C, H and W ("uncond": one for each
                image), in the space of the step's predictions. Where a network's is not finite, the base's is
                taken.

        Returns:
            [rows, C, H, W], the dtype of the predictions.
        """
        if self.aggregation is None and self.residual is None:
            return predictions[self._source(branch)]
        dtype, base = predictions["base"].dtype, upcast(predictions["base"])
        if self.residual is not None:
            cond, uncond = self.residual
            residual = cond[rows] if branch == "cond" else uncond
            return (base if residual is None else base + residual).to(dtype)
        if self.aggregation is None:
            raise RuntimeError("the step did not aggregate")
        # A network that was not asked for has no weight, so the base's prediction can stand in for its own.
        networks = torch.stack(
            [
                _finite(predictions[network].to(base), base) if network in predictions else base
                for network in range(len(self.aggregation.weights))
            ]
        )
        if branch == "cond":
            return self.aggregation.cond(base, networks, rows).to(dtype)
        return self.aggregation.uncond(base, networks).to(dtype)

    def _source(self, branch: Branch) -> Source:
        return self.source if branch == "cond" else self.uncond_source


def _finite(prediction: Tensor, base: Tensor) -> Tensor:
    return torch.where(prediction.isfinite(), prediction, base)
