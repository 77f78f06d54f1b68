"""One evaluation: conditions into model calls, guidance, and the functions of extensions around them."""

from __future__ import annotations

import math
from collections import namedtuple

import torch
from backend.sampling.sampling_function import _joinable

from ldm_patched.modules import model_management

cond_obj = namedtuple("cond_obj", ["input_x", "mult", "conditioning", "area", "control", "patches", "uuid"])


def _cut(tensor, area):
    for dim in range(len(area or ()) // 2):
        tensor = tensor.narrow(dim + 2, area[dim + 2], area[dim])
    return tensor


def get_area_and_mult(conds, x_in, timestep_in):
    if "timestep_start" in conds and timestep_in[0] > conds["timestep_start"]:
        return None
    if "timestep_end" in conds and timestep_in[0] < conds["timestep_end"]:
        return None
    area = list(conds["area"]) if "area" in conds else None
    input_x = _cut(x_in, area)
    mult = torch.full_like(input_x, conds.get("strength", 1.0))
    if "mask" in conds:
        mask = _cut(conds["mask"].unsqueeze(1), area)
        mult = mult * mask.repeat(len(input_x) // len(mask), input_x.shape[1], 1, 1)
    conditioning = {
        name: cond.process_cond(batch_size=len(x_in), device=x_in.device, area=area)
        for name, cond in conds["model_conds"].items()
    }
    return cond_obj(input_x, mult, conditioning, area, conds.get("control"), None, conds.get("uuid", 0))


def calc_cond_batch(model, conds, x_in, timestep, model_options):
    sums = [torch.zeros_like(x_in) for _ in conds]
    counts = [torch.full_like(x_in, 1e-37) for _ in conds]
    to_run = [
        (found, place)
        for place, some in enumerate(conds)
        for one in some or ()
        if (found := get_area_and_mult(one, x_in, timestep)) is not None
    ]
    while to_run:
        first = to_run[0][0]
        fitting = [i for i in range(len(to_run)) if _joinable(to_run[i][0], first)][::-1]
        chosen = fitting[:1]
        for parts in range(1, len(fitting) + 1):
            some = fitting[: len(fitting) // parts]
            shape = [len(some) * first.input_x.shape[0], *first.input_x.shape[1:]]
            sizes = [{name: one.size() for name, one in to_run[i][0].conditioning.items()} for i in some]
            shapes = {name: [one[name] for one in sizes] for name in sizes[0]}
            if model.memory_required(shape, cond_shapes=shapes) < model_management.get_free_memory(
                x_in.device
            ):
                chosen = some
                break
        chunks = [to_run.pop(i) for i in chosen]
        places = [place for _, place in chunks]
        input_x = torch.cat([found.input_x for found, _ in chunks])
        sigma = torch.cat([timestep] * len(chunks))
        (one, *others) = [found.conditioning for found, _ in chunks]
        c = {name: cond.concat([other[name] for other in others]) for name, cond in one.items()}
        options = {**model_options.get("transformer_options", {}), "cond_or_uncond": places[:]}
        c["transformer_options"] = options | {
            "uuids": [found.uuid for found, _ in chunks],
            "sigmas": timestep,
        }
        if first.control is not None:
            c["control"] = first.control.get_control(input_x, sigma, c, len(places), options)
        if "model_function_wrapper" in model_options:
            call = {"input": input_x, "timestep": sigma, "c": c, "cond_or_uncond": places}
            output = model_options["model_function_wrapper"](model.apply_model, call)
        else:
            output = model.apply_model(input_x, sigma, **c)
        for (found, place), predicted in zip(chunks, output.chunk(len(chunks)), strict=True):
            total, count = _cut(sums[place], found.area), _cut(counts[place], found.area)
            total += predicted * found.mult
            count += found.mult
    return [total / count for total, count in zip(sums, counts, strict=True)]


def calc_cond_uncond_batch(model, cond, uncond, x_in, timestep, model_options):
    return tuple(calc_cond_batch(model, [cond, uncond], x_in, timestep, model_options))


def cfg_function(model, cond_pred, uncond_pred, cond_scale, x, timestep, model_options, cond, uncond):
    predicted = {"input": x, "cond_denoised": cond_pred, "uncond_denoised": uncond_pred}
    if "sampler_cfg_function" in model_options:
        noise = {"cond": x - cond_pred, "uncond": x - uncond_pred, "cond_scale": cond_scale}
        result = x - model_options["sampler_cfg_function"]({**predicted, **noise})
    else:
        edit_strength = sum(item.get("strength", 1) for item in cond)
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
    return result


def sampling_function(model, x, timestep, uncond, cond, cond_scale, model_options=None, seed=None):
    without = math.isclose(cond_scale, 1.0) and not model_options.get("disable_cfg1_optimization", False)
    uncond_ = None if without else uncond
    asked = {"input": x, "sigma": timestep, "model": model, "model_options": model_options}
    conds = [cond, uncond_]
    if "sampler_calc_cond_batch_function" in model_options:
        out = model_options["sampler_calc_cond_batch_function"]({"conds": conds, **asked})
    else:
        out = calc_cond_batch(model, conds, x, timestep, model_options)
    for function in model_options.get("sampler_pre_cfg_function", []):
        out = function({"conds": conds, "conds_out": out, "cond_scale": cond_scale, **asked})
    return cfg_function(model, *out[:2], cond_scale, x, timestep, model_options, cond, uncond_)
