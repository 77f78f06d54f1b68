"""From what a UNet predicts to noise and to the denoised latent, at the noise level of one evaluation.

Every UNet of Stable Diffusion sees x = α·x0 + σ·ε with α² + σ² = 1 (the variance preserving form), whatever
scaling the scheduler uses for its own latent: sigma-scaled schedulers (Euler, Heun, ...) divide by √(1 + σ²)
before the UNet is asked. So one pair (α, σ) and the UNet's *input* serve all schedulers and all three
things a UNet may be trained to predict (Salimans and Ho, "Progressive distillation", arXiv 2202.00512,
appendix D):

    epsilon: ε       v_prediction: v = α·ε − σ·x0       sample: x0
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import torch
from torch import Tensor

from loratorio_ext.method import upcast

PredictionType = Literal["epsilon", "v_prediction", "sample"]
PREDICTION_TYPES: Final[tuple[str, ...]] = get_args(PredictionType)

# The smallest divisor. A schedule with zero terminal SNR starts at α = 0 exactly, where the denoised latent
# cannot be had from noise; a positive factor drops out of the cosine, so a finite answer is enough.
_SMALLEST: Final = 1e-6


@dataclass(frozen=True)
class NoiseLevel:
    """α and σ of x = α·x0 + σ·ε as the UNet sees it, α² + σ² = 1, both in [0, 1]."""

    alpha: float
    sigma: float

    @classmethod
    def from_ratio(cls, ratio: float) -> NoiseLevel:
        """The level of σ/α = `ratio` in [0, ∞]: the sigma of k-diffusion."""
        alpha = 1.0 / math.hypot(1.0, ratio)
        return cls(alpha, 1.0 if math.isinf(ratio) else ratio * alpha)

    @classmethod
    def from_alpha(cls, alpha: float) -> NoiseLevel:
        """The level of a given α; rounding a little past [0, 1] is forgiven."""
        alpha = min(max(alpha, 0.0), 1.0)
        return cls(alpha, math.sqrt(1.0 - alpha * alpha))

    @property
    def ratio(self) -> float:
        """σ/α, the sigma of k-diffusion; finite also at zero terminal SNR, where it is 10⁶."""
        return self.sigma / max(self.alpha, _SMALLEST)

    def noise_of(self, prediction: PredictionType) -> float:
        """|∂ε/∂e| at a given x: how much the noise changes when a prediction of this kind changes by 1."""
        alpha, sigma = max(self.alpha, _SMALLEST), max(self.sigma, _SMALLEST)
        return {"epsilon": 1.0, "v_prediction": alpha, "sample": alpha / sigma}[prediction]


class NoiseSchedule:
    """Tells the noise level of the evaluation that a scheduler is about to ask for.

    Three kinds of diffusers schedulers exist: those that scale the UNet's input (the factor *is* α); those
    that keep a list of σ/α (DPM-Solver and its relatives); and those with a table of ᾱ by timestep (DDIM,
    DDPM, ...).
    """

    def __init__(self, scheduler: Any, timesteps: Tensor) -> None:
        """`scheduler`: a diffusers scheduler, not yet stepped, and what `set_steps` gave for it."""
        self._scheduler, self._timesteps = scheduler, timesteps
        self._numbers = timesteps.tolist()  # read once: reading one waits for the device
        # Asked of a copy, because schedulers take the first question as the start of the sampling.
        self._scales_input = _input_factor(copy.deepcopy(scheduler), timesteps[0]) != 1.0

    def level(self, index: int) -> NoiseLevel:
        """The level of evaluation `index`, asked for before `scheduler.step` is called for it."""
        scheduler = self._scheduler
        if self._scales_input:
            return NoiseLevel.from_alpha(_input_factor(scheduler, self._timesteps[index]))
        ratios = getattr(scheduler, "sigmas", None)
        if ratios is not None:
            place = scheduler.begin_index if scheduler.step_index is None else scheduler.step_index
            return NoiseLevel.from_ratio(float(ratios[place or 0]))
        return NoiseLevel.from_alpha(math.sqrt(float(scheduler.alphas_cumprod[int(self._numbers[index])])))


def _input_factor(scheduler: Any, timestep: Tensor) -> float:
    return float(scheduler.scale_model_input(torch.ones((), dtype=torch.float64), timestep))


def converter(
    space: Literal["noise", "denoised"], prediction: PredictionType, model_input: Tensor, level: NoiseLevel
) -> Callable[[Tensor], Tensor] | None:
    """What makes `space` of predictions of the kind `prediction`; None where they are in it already.

    `model_input`: the UNet's input, [R, C, H, W], in the variance preserving scale. The function returned
    takes [..., R, C, H, W] of any floating dtype and gives float32 (float64 for float64) of the same shape.
    """
    if (space, prediction) in (("noise", "epsilon"), ("denoised", "sample")):
        return None
    alpha, sigma = level.alpha, level.sigma

    def convert(predicted: Tensor) -> Tensor:
        y = upcast(predicted)
        x = model_input.to(y)
        if prediction == "v_prediction":
            return alpha * y + sigma * x if space == "noise" else alpha * x - sigma * y
        factor, divisor = (alpha, sigma) if space == "noise" else (sigma, alpha)
        return (x - factor * y) / max(divisor, _SMALLEST)

    return convert
