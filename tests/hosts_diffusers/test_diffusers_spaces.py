"""The three prediction types and every scheduler, against noise that is known because we added it."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st

from loratorio_ext.hosts.diffusers_host.samplers import SAMPLERS, make_scheduler, set_steps
from loratorio_ext.hosts.diffusers_host.spaces import PREDICTION_TYPES, NoiseLevel, NoiseSchedule, converter
from tests.hosts_diffusers.pipelines import plain_scheduler

# diffusers' own arithmetic of numpy with torch tensors.
pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")

NEEDS = {"DPM++ SDE": "torchsde", "LMS": "scipy"}
NAMES = [name for name in SAMPLERS if name not in NEEDS or importlib.util.find_spec(NEEDS[name]) is not None]


def predicted(kind: str, x0: torch.Tensor, noise: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
    if kind == "epsilon":
        return noise
    return x0 if kind == "sample" else level.alpha * noise - level.sigma * x0


@given(
    angle=st.floats(1e-3, math.pi / 2 - 1e-3),
    kind=st.sampled_from(PREDICTION_TYPES),
    seed=st.integers(0, 1000),
    leading=st.sampled_from([(), (3,)]),
)
@settings(max_examples=40, deadline=None)
def test_noise_and_denoised_are_recovered(
    angle: float, kind: Any, seed: int, leading: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x0, noise = torch.randn(2, 2, 3, 4, 5, generator=generator, dtype=torch.float64)
    level = NoiseLevel(math.cos(angle), math.sin(angle))
    x = level.alpha * x0 + level.sigma * noise
    output = predicted(kind, x0, noise, level).expand(*leading, 2, 3, 4, 5)
    for space, truth in (("noise", noise), ("denoised", x0)):
        convert = converter(space, kind, x, level)  # type: ignore[arg-type]
        found = output if convert is None else convert(output)
        assert found.shape == output.shape
        torch.testing.assert_close(found, truth.expand_as(found), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_conversion_is_wide_and_leaves_its_input_alone(dtype: torch.dtype) -> None:
    output, x = torch.randn(2, 2, 3, 4, 4).to(dtype)
    before = output.clone()
    convert = converter("noise", "v_prediction", x, NoiseLevel(0.6, 0.8))
    assert convert is not None
    assert convert(output).dtype == torch.float32
    assert torch.equal(output, before)


@pytest.mark.parametrize("space", ["noise", "denoised"])
@pytest.mark.parametrize("kind", PREDICTION_TYPES)
@pytest.mark.parametrize("level", [NoiseLevel(0.0, 1.0), NoiseLevel(1.0, 0.0)])
def test_ends_of_the_schedule_stay_finite(space: Any, kind: Any, level: NoiseLevel) -> None:
    output, x = torch.randn(2, 2, 3, 4, 4)
    convert = converter(space, kind, x, level)
    assert torch.isfinite(output if convert is None else convert(output)).all()


@pytest.mark.parametrize("ratio", [0.0, 1e-4, 0.03, 1.0, 14.6, 4096.0, math.inf])
def test_level_of_a_ratio(ratio: float) -> None:
    level = NoiseLevel.from_ratio(ratio)
    assert level.alpha**2 + level.sigma**2 == pytest.approx(1)
    assert level.ratio == pytest.approx(min(ratio, 1e6))


@pytest.mark.parametrize("zero_snr", [False, True])
@pytest.mark.parametrize("kind", PREDICTION_TYPES)
@pytest.mark.parametrize("name", [*NAMES, "DPM++ 2M Karras", "Euler Karras"])
@pytest.mark.parametrize("skipped", [0, 3])
def test_noise_that_every_scheduler_added_is_found_again(
    skipped: int, name: str, kind: Any, zero_snr: bool
) -> None:
    """Latents come from the scheduler's own `add_noise`, so a wrong α or σ shows as a wrong noise."""
    scheduler = make_scheduler(name, plain_scheduler(kind, rescale_betas_zero_snr=zero_snr))
    timesteps = set_steps(scheduler, 5 + skipped, torch.device("cpu"), skipped)
    schedule = NoiseSchedule(scheduler, timesteps)
    generator = torch.Generator().manual_seed(3)
    compared = 0
    for index, timestep in enumerate(timesteps):
        x0, noise = torch.randn(2, 1, 4, 8, 8, generator=generator)
        level = schedule.level(index)
        latents = scheduler.add_noise(x0, noise, timestep[None])
        x = scheduler.scale_model_input(latents, timestep)
        convert = converter("noise", kind, x, level)
        output = predicted(kind, x0, noise, level)
        found = output if convert is None else convert(output)
        # At the second stage of DPM2 the level lies between two of the list, which `add_noise` does not know.
        if getattr(scheduler, "state_in_first_order", True) or not name.startswith("DPM2"):
            torch.testing.assert_close(found, noise, rtol=1e-3, atol=2e-3)
            torch.testing.assert_close(x, level.alpha * x0 + level.sigma * noise, rtol=1e-3, atol=2e-3)
            compared += 1
        assert torch.isfinite(found).all()
        if kind == "sample":  # some schedulers refuse to step from it
            break
        more = {"generator": generator} if "generator" in scheduler.step.__code__.co_varnames else {}
        scheduler.step(output, timestep, latents, **more)
    assert compared >= (1 if kind == "sample" else 5)


@pytest.mark.parametrize("name", NAMES)
def test_no_step_begins_after_the_models_last_timestep(name: str) -> None:
    """With an offset of 1, as the embedded model has it, 1000 steps would begin at timestep 1000."""
    for steps in (999, 1000):
        plain = plain_scheduler("v_prediction", steps_offset=1, timestep_spacing="leading")
        scheduler = make_scheduler(name, plain)
        try:
            assert float(set_steps(scheduler, steps, torch.device("cpu")).max()) <= 999
        except ValueError as error:
            assert f"cannot make {steps} steps" in str(error)
            assert (name, steps) != ("DDIM", 999)
        else:
            assert (name, steps) != ("DDIM", 1000)


@pytest.mark.parametrize("name", NAMES)
def test_denoised_is_what_the_scheduler_itself_denoises(name: str) -> None:
    """Where diffusers says what it takes for the denoised picture, ours is the same."""
    scheduler = make_scheduler(name, plain_scheduler("v_prediction"))
    timesteps = set_steps(scheduler, 4, torch.device("cpu"))
    schedule = NoiseSchedule(scheduler, timesteps)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, 8, 8, generator=generator) * scheduler.init_noise_sigma
    compared = 0
    for index, timestep in enumerate(timesteps):
        level = schedule.level(index)
        x = scheduler.scale_model_input(latents, timestep)
        output = torch.randn(1, 4, 8, 8, generator=generator)
        convert = converter("denoised", "v_prediction", x, level)
        assert convert is not None
        ours = convert(output)
        if hasattr(scheduler, "convert_model_output") and scheduler.step_index is not None:
            theirs = scheduler.convert_model_output(output, sample=latents)
            algorithm = scheduler.config.get("algorithm_type", "dpmsolver++")
            if "++" in algorithm or name in ("UniPC", "SA-Solver"):
                torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
                compared += 1
        step = scheduler.step(output, timestep, latents)
        theirs = getattr(step, "pred_original_sample", None)
        if theirs is not None and name not in ("PLMS",):
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
            compared += 1
        latents = step.prev_sample
    silent = ("LCM", "TCD", "Heun", "DPM2", "DPM2 a", "PLMS", "DEIS", "UniPC", "SA-Solver")
    assert compared or name in silent
