"""What a step costs, in words beside the progress bar."""

from __future__ import annotations

from loratorio_ext.run import Evaluation, cost
from loratorio_ext.settings import Settings


class CostText:
    """Says how many predictions each step of a pass makes."""

    def __init__(self, settings: Settings, networks: int) -> None:
        """Nothing is counted yet; ``networks``: how many are composed."""
        self._settings = settings
        self._networks = networks
        self._costs: dict[tuple[bool, int], tuple[int, ...]] = {}

    def of(self, evaluation: Evaluation) -> str:
        """The text for one evaluation."""
        guided = evaluation.guided
        # All else is the same at every step of a pass; conditions of Forge may act at some sigmas only.
        layout = (guided, evaluation.cond_rows)
        if layout not in self._costs:
            self._costs[layout] = cost(
                self._settings,
                self._networks,
                guided,
                total=evaluation.total,
                images=evaluation.images,
                cond_rows=evaluation.cond_rows,
                base_is_given=evaluation.base_calls > 0,
            )
        rows = self._costs[layout]
        plain = evaluation.cond_rows + evaluation.images * guided
        now = rows[min(evaluation.index, len(rows) - 1)]
        return f"LoRAtorio: {now} predictions at this step instead of {plain}"
