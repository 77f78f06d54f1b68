"""From the predictions of one step to what the host combines: LoRAtorio and the usual ways."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from loratorio_ext.method import Aggregation, Composition, compose, recentre
from loratorio_ext.run.choice import Choice, for_rows, mean_per_image
from loratorio_ext.run.evaluation import Evaluation, Layout, Prediction
from loratorio_ext.run.maps import small_maps
from loratorio_ext.run.outputs import Outputs
from loratorio_ext.run.ranking import Ranking
from loratorio_ext.run.schedule import StepPlan
from loratorio_ext.settings import Settings


@dataclass(frozen=True)
class Observed:
    """What a composed step shows; tensors stay on the model's device.

    Attributes:
        similarity: mean over the patches, for each network and image, [N, B].
        weight: the same of the weights.
        finite: [N, B], False where a network's prediction was not finite in a row of the image.
        acting: [N, B], the networks that could have weight in the image.
        fallback: [R], True where the base prediction was used because no network was usable.
        maps: the weights Ω̂ for drawing, float16, [N, R, h', w'], at most 64 × 64.
        evaluated: for each image the networks that were evaluated; None: all.
    """

    similarity: Tensor
    weight: Tensor
    finite: Tensor
    acting: Tensor
    fallback: Tensor
    maps: Tensor
    evaluated: tuple[tuple[int, ...], ...] | None


@dataclass(frozen=True)
class Composed:
    """One composed step.

    Attributes:
        prediction: what the host combines.
        observed: what was seen.
        choice: of networks, which holds from here on; None: none is made.
        aggregation: how the prediction was put together.
    """

    prediction: Prediction
    observed: Observed
    choice: Choice | None
    aggregation: Aggregation


def is_finite(prediction: Prediction) -> Tensor:
    """Whether a step's prediction holds neither NaN nor infinity; one bool on the model's device."""
    finite = prediction.cond.isfinite().all()
    return finite if prediction.uncond is None else finite & prediction.uncond.isfinite().all()


def usual(plan: StepPlan, layout: Layout, outputs: Outputs, networks: int, recenter: float) -> Prediction:
    """Base, Merge and Switch take one source as it is; Composite averages the networks (LoRA Composite).

    Merge re-centred is a control: the merged networks with LoRAtorio's step 7.
    """
    if plan.mode == "composite":
        every = range(networks)
        uncond = outputs.unconds(every).mean(0) if layout.guided else None
        return Prediction(outputs.conds(every).mean(0), uncond)
    if plan.mode == "switch":
        return outputs.of(plan.network)
    if plan.recentred and layout.guided:
        merged = outputs.uncond("merged")
        return Prediction(outputs.cond("merged"), recentre(outputs.uncond("base"), merged, recenter))
    return outputs.of("merged" if plan.mode == "merged" else "base")


@dataclass(frozen=True)
class Composer:
    """LoRAtorio's step.

    Attributes:
        settings: d, τ, k, its scope, λ and the space of the cosine.
        networks: number of composed networks N; at least 1.
    """

    settings: Settings
    networks: int

    def composed(
        self,
        evaluation: Evaluation,
        layout: Layout,
        plan: StepPlan,
        outputs: Outputs,
        choice: Choice | None,
        ranking: Ranking,
    ) -> Composed:
        """Compose the predictions of one evaluation.

        Args:
            evaluation: what the host handed over.
            layout: its rows and images.
            plan: whether this is a scan, and whether scans choose.
            outputs: the base's predictions and the networks'.
            choice: the choice of the last scan, between scans.
            ranking: what is known of earlier steps; this step is added to it.
        """
        k = self.settings.top_k
        if not plan.choosing:
            composition = everything = self._compose(evaluation, layout, outputs, None)
            if self._chooses_for_images(layout, ranking):
                mask = ranking.most_divergent(
                    everything.divergence, everything.finite, layout, k, fresh=plan.fresh
                )
                composition = self._compose(evaluation, layout, outputs, for_rows(mask, layout))
            acting = mean_per_image(composition.selected.flatten(2).any(2).float(), layout) > 0
            observed = _observed(composition, everything, layout, acting, None, evaluation.total)
            return Composed(_prediction(composition), observed, None, composition.aggregation)
        if plan.scan or choice is None:
            everything = self._compose(evaluation, layout, outputs, None)
            choice = Choice.of(ranking.most_divergent(everything.divergence, everything.finite, layout, k))
            # Again with the choice, which sub-prompts of one image share: it holds from the scan itself on.
            composition = self._compose(evaluation, layout, outputs, choice.for_rows(layout))
            evaluated = None
        else:
            composition = everything = self._compose(evaluation, layout, outputs, choice.for_rows(layout))
            evaluated = choice.networks
        observed = _observed(composition, everything, layout, choice.mask, evaluated, evaluation.total)
        return Composed(_prediction(composition), observed, choice, composition.aggregation)

    def _chooses_for_images(self, layout: Layout, ranking: Ranking) -> bool:
        """Whether the choice needs more than one row of one step; otherwise ``compose`` makes it."""
        choosing = 0 < self.settings.top_k < self.networks and self.settings.top_k_scope == "image"
        return choosing and (ranking.remembers or layout.cond_rows > layout.images)

    def _compose(
        self, evaluation: Evaluation, layout: Layout, outputs: Outputs, active: Tensor | None
    ) -> Composition:
        settings, every = self.settings, range(self.networks)
        with_uncond = layout.guided and settings.recenter < 1
        return compose(
            outputs.cond("base"),
            outputs.conds(every),
            outputs.uncond("base") if layout.guided else None,
            outputs.unconds(every) if with_uncond else None,
            patch_size=settings.patch_size,
            temperature=settings.temperature,
            top_k=settings.top_k,
            top_k_scope=settings.top_k_scope,
            recenter=settings.recenter,
            weighting=settings.weighting,
            gain=settings.gain,
            active=active,
            compare_as=evaluation.compare_as(settings.compare),
            subprompts=evaluation.subprompts,
        )


def _prediction(composition: Composition) -> Prediction:
    return Prediction(composition.cond, composition.uncond)


def _in_all_rows(flags: Tensor, layout: Layout) -> Tensor:
    """Flags [N, R] that hold in all rows of an image, [N, B]; rows without a share count too."""
    # Row by row: an index that is a list would be copied to the device, and the step would wait for it.
    images = [torch.stack([flags[:, row] for row in shares]).all(dim=0) for shares in layout.shares]
    return torch.stack(images, dim=1)


def _observed(
    composition: Composition,
    compared: Composition,
    layout: Layout,
    acting: Tensor,
    evaluated: tuple[tuple[int, ...], ...] | None,
    total: int,
) -> Observed:
    """``composition`` gave the picture; in ``compared`` every network that was evaluated took part."""
    weights = composition.weights
    return Observed(
        similarity=mean_per_image(compared.similarity.mean(dim=(-2, -1)), layout),
        weight=mean_per_image(weights.mean(dim=(-2, -1)), layout),
        finite=_in_all_rows(compared.finite, layout),
        acting=acting,
        fallback=(weights.sum(0) == 0).flatten(1).any(1),
        maps=small_maps(weights, total),
        evaluated=evaluated,
    )
