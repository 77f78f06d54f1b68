"""What networks added to the base's predictions the last time they were evaluated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from torch import Tensor

from loratorio_ext.run.rows import Row
from loratorio_ext.run.wide import wide

Scale = float | Tensor
"""A positive number, or a tensor of one element on the model's device."""


class Held:
    """Keeps e_i − e_θ of every row of a network, to stand in for an evaluation in the steps between two.

    What a network adds to the predicted noise changes slowly from step to step, while predictions
    themselves, and differences in other spaces, change with the noise level. So it is held as noise.
    """

    def __init__(self) -> None:
        """Nothing is held yet."""
        self._added: dict[Row, Tensor] = {}

    def covers(self, rows: Iterable[Row]) -> bool:
        """Whether something is held for every row of a network among ``rows``."""
        return all(row in self._added for row in rows if row.source != "base")

    def keep(self, predictions: Mapping[Row, Tensor], noise_scale: Scale) -> None:
        """Hold what the networks among the predictions [C, H, W] added to the base's.

        Args:
            predictions: by row; the base's are among them.
            noise_scale: how much predicted noise a unit of prediction is at this step.
        """
        for row, prediction in predictions.items():
            if row.source != "base":
                base = wide(predictions[Row("base", row.half, row.index)])
                self._added[row] = (wide(prediction) - base) * noise_scale

    def completed(
        self, predictions: Mapping[Row, Tensor], rows: Iterable[Row], noise_scale: Scale
    ) -> dict[Row, Tensor]:
        """The predictions, and for each further row of a network the base's with what is held."""
        everything = dict(predictions)
        for row in rows:
            if row not in everything:
                base = predictions[Row("base", row.half, row.index)]
                everything[row] = (wide(base) + self._added[row] / noise_scale).to(base.dtype)
        return everything
