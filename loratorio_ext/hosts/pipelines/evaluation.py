"""One evaluation of a pipeline's denoiser, as the run asks for it."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from loratorio_ext.hosts.diffusers_host.spaces import NoiseLevel, converter
from loratorio_ext.hosts.pipelines.families import Arguments, Family, Layout, picked
from loratorio_ext.method import RowMap, upcast
from loratorio_ext.networks.router import Places, Router
from loratorio_ext.run import Branch, GivenBase, Row, RowStrengths

ATTENTION = ("cross_attention_kwargs", "joint_attention_kwargs", "attention_kwargs")
"""Arguments of denoisers in which pipelines hand over a scale for all adapters."""


@dataclass(frozen=True)
class Call:
    """A call of the denoiser, as the pipeline makes it.

    Attributes:
        denoiser: that is called.
        arguments: by name, without a scale for the adapters.
        scale: that scale.
        family: of the pipeline.
        layout: of this generation.
    """

    denoiser: nn.Module
    arguments: Arguments
    scale: float
    family: Family
    layout: Layout

    @classmethod
    def of(cls, denoiser: nn.Module, given: Arguments, family: Family, layout: Layout) -> Call:
        """Take the scale out of the attention's arguments: it acts by the strengths."""
        arguments, scale = dict(given), 1.0
        for name in ATTENTION:
            inner = arguments.get(name)
            if isinstance(inner, Mapping) and inner.get("scale") is not None:
                scale = float(inner["scale"])
                arguments[name] = {key: value for key, value in inner.items() if key != "scale"}
        return cls(denoiser, arguments, scale, family, layout)

    @property
    def sample(self) -> Any:
        """The noisy latents, as the denoiser takes them."""
        return self.arguments[self.family.sample]

    @property
    def rows(self) -> int:
        """How many rows the call has."""
        return len(self.sample)

    @cached_property
    def latents(self) -> Tensor:
        """The noisy latents, [rows, C or more, H, W]."""
        return self.layout.picture(self.sample, self.arguments)

    @property
    def has_references(self) -> bool:
        """Whether tokens of other pictures, for reference, follow those of the picture."""
        packed = isinstance(self.sample, Tensor) and self.sample.dim() == 3
        return packed and 4 * self.sample.shape[1] > math.prod(self.latents.shape[-2:])

    def halves_are_alike(self) -> bool:
        """Whether the second half of the rows has the latents of the first; waits for the device."""
        first, second = (torch.stack(list(half)) for half in _halves(self.sample))
        return first.shape == second.shape and torch.equal(first, second)

    def of_rows(self, places: Sequence[int]) -> dict[str, Any]:
        """The arguments with the rows of these numbers, in containers of their own: denoisers empty some."""
        return {**picked(self.arguments, self.family, self.rows, places), "return_dict": False}

    def predict(self, places: Sequence[int]) -> Tensor:
        """Predictions [len(places), C, H, W] for rows with these numbers, in one call."""
        arguments = self.of_rows(places)
        return self.layout.picture(self.denoiser.forward(**arguments)[0], arguments)


def _halves(sample: Any) -> tuple[Any, Any]:
    middle = len(sample) // 2
    return sample[:middle], sample[middle:]


@dataclass(frozen=True)
class CallEvaluation:
    """A call of the denoiser as an evaluation; see `run.Evaluation`.

    Predictions are what the denoiser predicts.

    Attributes:
        call: of the pipeline.
        index: number of the evaluation in this generation.
        total: how many the pipeline will make.
        guided: whether the call holds unconditional rows too.
        router: gives rows their networks.
        scheduler: of the pipeline.
        is_joined: whether networks act in layers where the texts of all rows are one sequence.
        given: what the pipeline's own call has predicted, where it can be used.
    """

    call: Call
    index: int
    total: int
    guided: bool
    router: Router
    scheduler: Any
    is_joined: bool
    given: GivenBase | None = None

    @property
    def images(self) -> int:
        """How many images there are."""
        return self.call.rows // 2 if self.guided else self.call.rows

    @cached_property
    def rows(self) -> RowMap:
        """One conditional row for each image."""
        return RowMap.one_each(self.images)

    @property
    def sigma(self) -> Tensor:
        """The timestep of the first row, as the denoiser takes it."""
        return torch.as_tensor(self.call.arguments[self.call.family.timestep]).flatten()[0]

    @property
    def noise_scale(self) -> float:
        """See `NoiseLevel.noise_of`; 1 for a velocity."""
        if self.call.family.flow is not None:
            return 1.0
        return self._level.noise_of(self.scheduler.config.prediction_type)

    def place_of(self, branch: Branch, image: int) -> int:
        """The number of a row in the pipeline's call."""
        first: Branch = "uncond" if self.call.family.guidance == "uncond first" else "cond"
        return image if not self.guided or branch == first else self.images + image

    def predict(
        self, rows: Sequence[Row], strengths: Sequence[RowStrengths], places: Places | None
    ) -> tuple[Tensor, int]:
        """(predictions [len(rows), C, H, W]; 1 call)."""
        with self.router.routing(self.scaled(strengths), places):
            return self.call.predict([self.place_of(row.branch, row.index) for row in rows]), 1

    def scaled(self, strengths: Sequence[RowStrengths]) -> list[RowStrengths]:
        """Strengths times the scale that the pipeline's call gives all adapters."""
        return [tuple(self.call.scale * strength for strength in row) for row in strengths]

    def call_group(self, row: Row) -> Hashable:
        """Texts of different length share no call where the places of a row's text would not be known."""
        return self.text_length(self.place_of(row.branch, row.index))

    def text_length(self, place: int) -> int:
        """How much of the joined texts the row of this number takes; 0 where it does not matter."""
        return self.call.family.text_length(self.call.arguments, place) if self.is_joined else 0

    def compare_as(self, space: Literal["noise", "denoised"]) -> Callable[[Tensor], Tensor] | None:
        """Noise, or the velocity of a flow model; denoised latents."""
        flow = self.call.family.flow
        if flow is not None and space == "noise":
            return None
        x = torch.stack([self.call.latents[self.place_of("cond", image)] for image in range(self.images)])
        if flow is None:
            level, prediction = self._level, self.scheduler.config.prediction_type

            def of_unet(predicted: Tensor) -> Tensor:
                convert = converter(space, prediction, x[:, : predicted.shape[-3]], level)
                return predicted if convert is None else convert(predicted)

            return of_unet
        factor = flow.sign * flow.sigma(float(self.sigma))

        def of_flow(predicted: Tensor) -> Tensor:
            velocity = upcast(predicted)
            return x[:, : velocity.shape[-3]].to(velocity) - factor * velocity

        return of_flow

    def release(self) -> None:
        """Drop the networks' stacked copies."""
        self.router.release()

    @property
    def _level(self) -> NoiseLevel:
        """α and σ of what the UNet sees, by its timestep; between two of the table by a straight line."""
        table: Tensor = self.scheduler.alphas_cumprod
        timestep = min(max(float(self.sigma), 0.0), len(table) - 1.0)
        lower, upper = float(table[math.floor(timestep)]), float(table[math.ceil(timestep)])
        share = timestep - math.floor(timestep)
        return NoiseLevel.from_alpha(math.sqrt((1 - share) * lower + share * upper))
