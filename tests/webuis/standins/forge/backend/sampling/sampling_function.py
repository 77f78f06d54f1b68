"""One evaluation: conditions into model calls, guidance, and the functions of extensions around them."""

from __future__ import annotations

import math
from collections import namedtuple

import torch

from backend import memory_management
from backend.sampling.condition import Condition, compile_conditions, compile_weighted_conditions

CondObject = namedtuple("CondObject", ["input_x", "mult", "conditioning", "area", "control", "patches"])


def get_area_and_mult(conds, x_in, timestep_in):
    if "timestep_start" in conds and timestep_in[0] > conds["timestep_start"]:
        return None
    if "timestep_end" in conds and timestep_in[0] < conds["timestep_end"]:
        return None
    area = conds.get("area", (x_in.shape[2], x_in.shape[3], 0, 0))
    height, width, top, left = area
    cut = (slice(None), slice(None), slice(top, top + height), slice(left, left + width))
    input_x = x_in[cut]
    mult = torch.full_like(input_x, conds.get("strength", 1.0))
    if "mask" in conds:
        mask = conds["mask"][:, cut[2], cut[3]].unsqueeze(1)
        mult = mult * mask.repeat(len(input_x) // len(mask), input_x.shape[1], 1, 1)
    conditioning = {
        name: cond.process_cond(batch_size=len(x_in), device=x_in.device, area=area)
        for name, cond in conds["model_conds"].items()
    }
    return CondObject(input_x, mult, conditioning, area, conds.get("control"), None)


def _joinable(a, b):
    return (
        a.input_x.shape == b.input_x.shape
        and a.control is b.control
        and a.conditioning.keys() == b.conditioning.keys()
        and all(a.conditioning[name].can_concat(b.conditioning[name]) for name in a.conditioning)
    )


def calc_cond_uncond_batch(model, cond, uncond, x_in, timestep, model_options):
    sums = [torch.zeros_like(x_in), torch.zeros_like(x_in)]
    counts = [torch.full_like(x_in, 1e-37), torch.full_like(x_in, 1e-37)]
    to_run = [
        (found, half)
        for half, conds in enumerate((cond, uncond))
        for one in conds or ()
        if (found := get_area_and_mult(one, x_in, timestep)) is not None
    ]
    while to_run:
        first = to_run[0][0]
        fitting = [i for i in range(len(to_run)) if _joinable(to_run[i][0], first)][::-1]
        chosen = fitting[:1]
        for parts in range(1, len(fitting) + 1):
            some = fitting[: len(fitting) // parts]
            shape = [len(some) * first.input_x.shape[0], *first.input_x.shape[1:]]
            if model.memory_required(shape) < memory_management.get_free_memory(x_in.device):
                chosen = some
                break
        chunks = [to_run.pop(i) for i in chosen]
        halves = [half for _, half in chunks]
        input_x = torch.cat([found.input_x for found, _ in chunks])
        sigma = torch.cat([timestep] * len(chunks))
        (one, *others) = [found.conditioning for found, _ in chunks]
        c = {name: cond.concat([other[name] for other in others]) for name, cond in one.items()}
        options = dict(model_options.get("transformer_options", {}))
        options["cond_or_uncond"] = halves[:]
        options["sigmas"] = timestep
        c["transformer_options"] = options
        if first.control is not None:
            c["control"] = first.control.get_control(input_x, sigma, c.copy(), len(halves))
            c["control_model"] = first.control
        if "model_function_wrapper" in model_options:
            call = {"input": input_x, "timestep": sigma, "c": c, "cond_or_uncond": halves}
            output = model_options["model_function_wrapper"](model.apply_model, call)
        else:
            output = model.apply_model(input_x, sigma, **c)
        for (found, half), predicted in zip(chunks, output.chunk(len(chunks)), strict=True):
            height, width, top, left = found.area
            cut = (slice(None), slice(None), slice(top, top + height), slice(left, left + width))
            sums[half][cut] += predicted * found.mult
            counts[half][cut] += found.mult
    return sums[0] / counts[0], sums[1] / counts[1]


def sampling_function_inner(model, x, timestep, uncond, cond, cond_scale, model_options=None, seed=None):
    edit_strength = sum(item.get("strength", 1) for item in cond)
    uncond_ = None if math.isclose(cond_scale, 1.0) else uncond
    for function in model_options.get("sampler_pre_cfg_function", []):
        model, cond, uncond_, x, timestep, model_options = function(
            model, cond, uncond_, x, timestep, model_options
        )
    cond_pred, uncond_pred = calc_cond_uncond_batch(model, cond, uncond_, x, timestep, model_options)
    predicted = {"input": x, "cond_denoised": cond_pred, "uncond_denoised": uncond_pred}
    if "sampler_cfg_function" in model_options:
        noise = {"cond": x - cond_pred, "uncond": x - uncond_pred, "cond_scale": cond_scale}
        result = x - model_options["sampler_cfg_function"]({**predicted, **noise})
    else:
        strength = 1.0 if math.isclose(edit_strength, 1.0) else edit_strength
        result = uncond_pred + (cond_pred - uncond_pred) * cond_scale * strength
    asked = {
        "cond": cond,
        "uncond": uncond,
        "model": model,
        "sigma": timestep,
        "model_options": model_options,
    }
    for function in model_options.get("sampler_post_cfg_function", []):
        result = function({**predicted, **asked, "denoised": result})
    return result, cond_pred, uncond_pred


def sampling_function(self, denoiser_params, cond_scale, cond_composition):
    from modules import shared

    unet = shared.sd_model.forge_objects.unet
    model, model_options = unet.model, unet.model_options
    if hasattr(memory_management, "bnb_enabled"):  # Forge Neo joins samplers' own options
        model_options = model_options.copy()
    x, timestep = denoiser_params.x, denoiser_params.sigma
    uncond = compile_conditions(denoiser_params.text_uncond)
    cond = compile_weighted_conditions(denoiser_params.text_cond, cond_composition)
    for part in (*cond, *(uncond or ())):
        if unet.extra_concat_condition is not None:
            part["model_conds"]["c_concat"] = Condition(unet.extra_concat_condition)
        if unet.controlnet_linked_list is not None:
            part["control"] = unet.controlnet_linked_list
    for modifier in model_options.get("conditioning_modifiers", []):
        model, x, timestep, uncond, cond, cond_scale, model_options, _ = modifier(
            model, x, timestep, uncond, cond, cond_scale, model_options, 0
        )
    return sampling_function_inner(model, x, timestep, uncond, cond, cond_scale, model_options)


def sampling_prepare(unet, x):
    memory_management.load_models_gpu([unet])
