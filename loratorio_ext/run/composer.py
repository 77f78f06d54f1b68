"""From the predictions of one step to what the host combines: LoRAtorio and the usual methods."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from loratorio_ext.method import Composition, RowMap, compose, recentre, upcast
from loratorio_ext.run.evaluation import Branch, Evaluation, Prediction, Row, Source
from loratorio_ext.run.ranking import ChosenNetworks, Ranking
from loratorio_ext.run.reuse import FrozenComposition
from loratorio_ext.run.routes import Routes
from loratorio_ext.run.schedule import StepPlan
from loratorio_ext.run.step_report import Observed
from loratorio_ext.settings import Settings

MAP_SIDE = 64
# All maps of a generation together; small enough for a report that a WebUI keeps for each of its pictures.
MAP_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class StepPredictions:
    """The predictions of one step by source, looked up without tensor indices: nothing waits for the device.

    Attributes:
        of_rows: predictions [C, H, W] by row; the base's stand in for a network that was not evaluated.
        rows: the conditional rows and their images.
        guided: whether there are unconditional predictions.
    """

    of_rows: Mapping[Row, Tensor]
    rows: RowMap
    guided: bool

    @property
    def device(self) -> torch.device:
        """Where the predictions are."""
        return next(iter(self.of_rows.values())).device

    def of(self, source: Source) -> Prediction:
        """All rows of one source: cond [R, C, H, W], uncond [B, C, H, W] or None without guidance."""
        return Prediction(self.branch("cond", source), self.branch("uncond", source) if self.guided else None)

    def of_all(self, branch: Branch, networks: Sequence[int]) -> Tensor:
        """Predictions of several networks, [N, R, C, H, W] ("uncond": [N, B, C, H, W])."""
        return torch.stack([self.branch(branch, network) for network in networks])

    def branch(self, branch: Branch, source: Source) -> Tensor:
        """Predictions of one source, [R, C, H, W] ("uncond": [B, C, H, W])."""
        found = []
        for index in range(self.rows.cond_rows if branch == "cond" else self.rows.images):
            prediction = self.of_rows.get(Row(source, branch, index))
            found.append(self.of_rows[Row("base", branch, index)] if prediction is None else prediction)
        return torch.stack(found)


class Composer:
    """Combines the predictions of the steps of one run, and chooses networks for the steps between scans.

    Attributes:
        chosen: the networks of each image until the next scan; None while nothing is chosen.
    """

    def __init__(self, settings: Settings, networks: int, routes: Routes) -> None:
        """Prepare for the first step.

        Args:
            settings: d, τ, k, its scope, λ and the space of the cosine.
            networks: number of composed networks N.
            routes: told what the steps between two looks need to know.
        """
        self.chosen: ChosenNetworks | None = None
        self._settings = settings
        self._networks = range(networks)
        self._ranking = Ranking(settings.score)
        self._routes = routes

    def combined(
        self, evaluation: Evaluation, plan: StepPlan, predictions: StepPredictions
    ) -> tuple[Prediction, Observed]:
        """(what the host combines by its own guidance, what was observed; tensors stay on the device).

        Args:
            evaluation: what the host handed over.
            plan: what the step does.
            predictions: of all sources that the plan asks for.
        """
        if plan.mode == "composed":
            return self._composed(evaluation, plan, predictions)
        if plan.mode == "placed":
            return self._placed(evaluation, predictions)
        return self._usual(plan, predictions), self._observed_usual(plan, predictions.rows.images)

    def _composed(
        self, evaluation: Evaluation, plan: StepPlan, predictions: StepPredictions
    ) -> tuple[Prediction, Observed]:
        """LoRAtorio's step."""
        rows, k = predictions.rows, min(self._settings.top_k, len(plan.acting))
        all_act = len(plan.acting) == len(self._networks)
        evaluated = None if all_act else (plan.acting,) * rows.images
        chosen = self.chosen
        taking_part = None
        if not all_act:
            of_networks = [network in plan.acting for network in self._networks]
            taking_part = torch.tensor(of_networks, device=predictions.device)
        if not plan.choosing:
            self.chosen = None
            composition = everything = self._compose(evaluation, predictions, taking_part)
            if self._chooses_for_images(rows):
                mask = self._ranking.most_divergent(
                    everything.divergence, usable(everything, taking_part), rows, k, fresh=plan.fresh
                )
                composition = self._compose(evaluation, predictions, rows.of_rows(mask))
            acting = rows.mean(composition.selected.flatten(2).any(2).float()) > 0
        elif plan.scan or chosen is None:
            everything = self._compose(evaluation, predictions, taking_part)
            finite = usable(everything, taking_part)
            mask = self._ranking.most_divergent(everything.divergence, finite, rows, k)
            self.chosen, acting = ChosenNetworks.of(mask), mask
            # Again, with the choice that the sub-prompts of an image share: it holds from the scan on.
            composition = self._compose(evaluation, predictions, rows.of_rows(mask))
        else:
            acting, evaluated = chosen.mask, chosen.of_images
            composition = everything = self._compose(evaluation, predictions, rows.of_rows(chosen.mask))
        cond, uncond = composition.cond, composition.uncond
        frozen = FrozenComposition(aggregation=composition.aggregation)
        if not plan.fresh:
            of_cond = upcast(cond) - upcast(predictions.branch("cond", "base"))
            base_uncond = None if uncond is None else upcast(predictions.branch("uncond", "base"))
            of_uncond = None if uncond is None or base_uncond is None else upcast(uncond) - base_uncond
            frozen = FrozenComposition(residual=(of_cond, of_uncond))
        weights = composition.weights
        if self._settings.looks > 0:
            size = (cond.shape[-2], cond.shape[-1])
            chosen = ChosenNetworks.of(acting)
            self._routes.look(composition.aggregation, size, chosen, plan.acting, composition.selected)
        observed = Observed(
            similarity=rows.mean(everything.similarity.mean(dim=(-2, -1))),
            weight=rows.mean(weights.mean(dim=(-2, -1))),
            acting=acting,
            finite=rows.of_images(everything.finite),
            fallback=(weights.sum(dim=(0, 2, 3)) == 0).any(),
            maps=small_maps(weights, evaluation.total),
            evaluated=evaluated,
        )
        return Prediction(cond, uncond, frozen), observed

    def _placed(self, evaluation: Evaluation, predictions: StepPredictions) -> tuple[Prediction, Observed]:
        """A step between two looks: all networks have acted in one row, each at its own places."""
        uncond_source: Source = "base" if self._settings.recenter == 1 else "placed"
        uncond = predictions.branch("uncond", uncond_source) if predictions.guided else None
        frozen = FrozenComposition(source="placed", uncond_source=uncond_source)
        weights, acting = self._routes.weights, self._routes.acting
        if weights is None or acting is None:
            raise RuntimeError("no step has looked where networks speak")
        observed = Observed(
            weight=predictions.rows.mean(weights.mean(dim=(-2, -1))),
            acting=acting,
            maps=small_maps(weights, evaluation.total),
        )
        return Prediction(predictions.branch("cond", "placed"), uncond, frozen), observed

    def _chooses_for_images(self, rows: RowMap) -> bool:
        """Whether the choice needs more than one row of one step; otherwise ``compose`` makes it."""
        choosing = 0 < self._settings.top_k < len(self._networks) and self._settings.top_k_scope == "image"
        return choosing and (self._ranking.remembers or rows.cond_rows > rows.images)

    def _compose(
        self, evaluation: Evaluation, predictions: StepPredictions, active: Tensor | None
    ) -> Composition:
        settings, base = self._settings, predictions.of("base")
        asks_unconds = predictions.guided and settings.recenter < 1
        return compose(
            base.cond,
            predictions.of_all("cond", self._networks),
            base.uncond,
            predictions.of_all("uncond", self._networks) if asks_unconds else None,
            patch_size=settings.patch_size,
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_k_scope=settings.top_k_scope,
            recenter=settings.recenter,
            weighting=settings.weighting,
            gain=settings.gain,
            active=active,
            places=self._routes.areas(base.cond),
            compare_as=evaluation.compare_as(settings.compare),
            rows=predictions.rows,
        )

    def _usual(self, plan: StepPlan, predictions: StepPredictions) -> Prediction:
        """Base, Merge and Switch take one source as it is; Composite averages the networks (LoRA Composite).

        Merge re-centred is a control: the merged networks with LoRAtorio's step 7.
        """
        if plan.mode == "composite":
            uncond = predictions.of_all("uncond", plan.acting).mean(0) if predictions.guided else None
            return Prediction(predictions.of_all("cond", plan.acting).mean(0), uncond)
        if plan.mode == "switch":
            return predictions.of(plan.network)
        if plan.recentred:
            merged = predictions.of("merged")
            if merged.uncond is None:
                return merged
            base = predictions.branch("uncond", "base")
            return Prediction(merged.cond, recentre(base, merged.uncond, self._settings.recenter))
        source: Source = "merged" if plan.mode == "merged" else "base"
        taken = predictions.of(source)
        return Prediction(taken.cond, taken.uncond, FrozenComposition(source=source, uncond_source=source))

    def _observed_usual(self, plan: StepPlan, images: int) -> Observed:
        count, acts = len(self._networks), () if plan.mode == "base" else plan.acting
        acts = (plan.network,) if plan.mode == "switch" else acts
        if len(acts) in (0, count):  # without a copy of numbers to the device
            acting = torch.full((count,), bool(acts))
        else:
            acting = torch.tensor([network in acts for network in self._networks])
        shared = plan.mode in ("switch", "composite")
        weight = (acting.double() / acting.sum())[:, None].expand(count, images) if shared else None
        return Observed(acting[:, None].expand(count, images), weight)


def usable(composition: Composition, taking_part: Tensor | None) -> Tensor:
    """Networks whose predictions can be ranked, bool [N, R]."""
    return composition.finite if taking_part is None else composition.finite & taking_part[:, None]


def small_maps(weights: Tensor, total: int) -> Tensor:
    """Weights for drawing: at most 64 × 64, small enough for a whole generation to stay within ``MAP_BYTES``.

    Args:
        weights: [N, R, h, w].
        total: number of evaluations of the generation.

    Returns:
        float16 [N, R, h', w'] in the same proportions, area-averaged where smaller; on the same device.
    """
    count, rows, height, width = weights.shape
    affordable = math.isqrt(MAP_BYTES // (2 * count * rows * total))
    side = max(1, min(MAP_SIDE, affordable))
    longest = max(height, width)
    maps = weights.detach().float()
    if longest > side:
        size = (max(1, height * side // longest), max(1, width * side // longest))
        maps = F.adaptive_avg_pool2d(maps, size)
    return maps.half()
