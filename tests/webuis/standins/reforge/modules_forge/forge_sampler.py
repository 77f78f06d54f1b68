from __future__ import annotations

import torch
from backend.sampling import condition
from ldm_patched.modules import model_management


def cond_from_a1111_to_patched_ldm(cond):
    return condition.compile_conditions(cond)


def cond_from_a1111_to_patched_ldm_weighted(cond, weights):
    return condition.compile_weighted_conditions(cond, weights)


def sampling_prepare(unet, x):
    assert isinstance(x, torch.Tensor)
    model_management.load_models_gpu([unet])
