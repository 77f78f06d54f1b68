"""As in Forge: functions before the guidance come before the evaluation."""

from __future__ import annotations

from backend.sampling.sampling_function import (
    calc_cond_uncond_batch,  # noqa: F401
    get_area_and_mult,  # noqa: F401
    sampling_function_inner,
)


def sampling_function(model, x, timestep, uncond, cond, cond_scale, model_options=None, seed=None):
    return sampling_function_inner(model, x, timestep, uncond, cond, cond_scale, model_options, seed)[0]
