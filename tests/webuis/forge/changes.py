"""What other extensions change in Forge's UNet: each is a function of the patcher before a sampling."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch

Change = Callable[[Any], None]
PROMPT = "a cat <lora:te:1>"
TWO = "a cat <lora:te:1> <lora:lin:1>"
SEVERAL = ["a cat AND a dog :0.4 <lora:te:1> <lora:lin:1>", "a red dog AND a cat"]
ALONE = {"recenter": 0.0}


def adding(option: str) -> Callable[[Callable[..., Any]], Change]:
    """Makes of a function the change that adds it to those that Forge calls by this option."""

    def decorate(function: Callable[..., Any]) -> Change:
        @functools.wraps(function)
        def change(unet: Any) -> None:
            unet.model_options.setdefault(option, []).append(function)

        return change

    return decorate


def before_guidance(function: Callable[..., Any]) -> Change:
    """The same for functions that Forge calls before it evaluates."""
    change = adding("sampler_pre_cfg_function")(function)

    @functools.wraps(function)
    def where_there_are(unet: Any) -> None:
        if not hasattr(sampling(), "sampling_function_inner"):
            pytest.skip("reForge calls these functions after the evaluation")
        change(unet)

    return where_there_are


after_guidance = adding("sampler_post_cfg_function")
on_conditions = adding("conditioning_modifiers")


def wrapping(function: Callable[[Any, Any], Any]) -> Change:
    """Makes of a function the change that puts it around the model's calls."""

    @functools.wraps(function)
    def change(unet: Any) -> None:
        unet.model_options["model_function_wrapper"] = function

    return change


def sampling() -> Any:
    """The module as it is in the WebUI that is at work."""
    of_reforge = sys.modules.get("ldm_patched.modules.samplers")
    return of_reforge or sys.modules["backend.sampling.sampling_function"]


def whole_evaluation() -> str:
    """The name of the function there that evaluates and guides."""
    return (
        "sampling_function_inner" if hasattr(sampling(), "sampling_function_inner") else "sampling_function"
    )


def evaluate(a: Any, cond: Any, uncond: Any = None, x: Any = None, options: Any = None) -> Any:
    """(cond, uncond) once more; what is not named is what the function after the guidance was given."""
    x = a["input"] if x is None else x
    options = a["model_options"] if options is None else options
    return sampling().calc_cond_uncond_batch(a["model"], cond, uncond, x, a["sigma"], options)


@wrapping
def wrapper(apply_model: Any, call: Any) -> Any:
    return 0.5 * apply_model(call["input"], call["timestep"], **call["c"])


@wrapping
def tiles(apply_model: Any, call: Any) -> Any:
    """As tiled diffusion: the latent's halves as rows of one call."""
    left, right = call["input"].chunk(2, dim=3)
    c = {**call["c"], "c_crossattn": call["c"]["c_crossattn"].repeat(2, 1, 1)}
    options = c["transformer_options"]
    c["transformer_options"] = {**options, "cond_or_uncond": options["cond_or_uncond"] * 2}
    both = apply_model(torch.cat((left, right)), call["timestep"].repeat(2), **c)
    return torch.cat(both.chunk(2), dim=3)


@wrapping
def late_wrapper(apply_model: Any, call: Any) -> Any:
    """Hands calls on as they are at first, and later another latent."""
    x = call["input"] if call["timestep"][0] > 3 else call["input"] * 0.9
    return apply_model(x, call["timestep"], **call["c"]) + 0.2


@after_guidance
def perturbed(a: Any) -> Any:
    """As PAG: the conditions once more, in a model that is not quite the same."""

    def worse(apply_model: Any, call: Any) -> Any:
        c = {**call["c"], "c_crossattn": call["c"]["c_crossattn"] * 0.9}
        return apply_model(call["input"], call["timestep"] * 0.9, **c)

    ours = a["model_options"].get("model_function_wrapper")
    chained = (lambda apply_model, call: ours(partial_of(worse, apply_model), call)) if ours else worse
    degraded, _ = evaluate(a, a["cond"], options={**a["model_options"], "model_function_wrapper": chained})
    return a["denoised"] + 2.0 * (a["cond_denoised"] - degraded)


def partial_of(wrapper: Any, apply_model: Any) -> Any:
    def asked(x: Any, t: Any, **c: Any) -> Any:
        halves = c["transformer_options"]["cond_or_uncond"]
        return wrapper(apply_model, {"input": x, "timestep": t, "c": c, "cond_or_uncond": halves})

    return asked


@after_guidance
def blurred(a: Any) -> Any:
    """As SAG: the unconditional once more, of another latent."""
    if a["uncond"] is None:
        return a["denoised"]
    again, _ = evaluate(a, a["uncond"], x=a["input"].flip(3) * 0.5)
    return a["denoised"] + 0.5 * (a["uncond_denoised"] - again)


@after_guidance
def a_part_again(a: Any) -> Any:
    """An evaluation after the guidance whose latent is smaller."""
    again, _ = evaluate(a, a["cond"], x=a["input"][..., :4])
    return torch.cat((a["denoised"][..., :4] + again, a["denoised"][..., 4:]), dim=3)


def reference(unet: Any) -> None:
    """As ControlNet's reference: another picture is evaluated before the denoiser's own."""
    inner = getattr(sampling(), whole_evaluation())

    @on_conditions
    def modifier(model: Any, x: Any, t: Any, uncond: Any, cond: Any, *others: Any) -> Any:
        _, options, seed = others
        seen = inner(model, x.flip(2), t, uncond, cond, 1, options, seed)[0]
        return model, x + 0.1 * seen, t, uncond, cond, *others

    modifier(unet)


def reference_inside(unet: Any) -> None:
    """The same from a function before the guidance."""
    inner = getattr(sampling(), whole_evaluation())
    working: list[bool] = []

    @before_guidance
    def function(model: Any, cond: Any, uncond: Any, x: Any, t: Any, options: Any) -> Any:
        if not working:
            working.append(True)
            seen = inner(model, x.flip(2), t, uncond, cond, 1, options, 0)[0]
            working.clear()
            x = x + 0.1 * seen
        return model, cond, uncond, x, t, options

    function(unet)


def cfg_function(unet: Any) -> None:
    unet.model_options["sampler_cfg_function"] = lambda a: a["uncond"] + (a["cond"] - a["uncond"]) * 3.0


@after_guidance
def post_cfg_function(a: Any) -> Any:
    return a["denoised"] + 0.5 * (a["cond_denoised"] - a["uncond_denoised"])


class Hints:
    """One for every image, repeated over the rows of a chunk as Forge's ControlNet does it."""

    def __init__(self, images: int) -> None:
        self.hints = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)[:images]

    def get_control(self, x: torch.Tensor, t: torch.Tensor, c: Any, chunks: int, *_: Any) -> torch.Tensor:
        rows = len(x) // chunks
        return self.hints.repeat(-(-rows // len(self.hints)), 1, 1, 1)[:rows].repeat(chunks, 1, 1, 1)


def control(unet: Any) -> None:
    unet.controlnet_linked_list = Hints(2)


def one_hint(unet: Any) -> None:
    unet.controlnet_linked_list = Hints(1)


def concatenated(unet: Any) -> None:
    unet.extra_concat_condition = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).expand(2, 5, 8, 8)


@on_conditions
def masks(model: Any, x: Any, t: Any, uncond: Any, cond: Any, *others: Any) -> Any:
    left = torch.ones(len(x), 8, 8)
    left[:, :, 4:] = 0.25
    cond = [{**cond[0], "mask": left, "strength": 0.5}, {**cond[0], "strength": 0.5}]
    return model, x, t, uncond, cond, *others


@on_conditions
def areas(model: Any, x: Any, t: Any, uncond: Any, cond: Any, *others: Any) -> Any:
    parts = [{**cond[0], "area": (8, 4, 0, left), "strength": 0.5} for left in (0, 4)]
    late = {**cond[0], "timestep_start": 3.0, "strength": 0.0}
    return model, x, t, uncond, [*parts, late], *others


@on_conditions
def other_texts(model: Any, x: Any, t: Any, uncond: Any, cond: Any, *others: Any) -> Any:
    conds = cond[0]["model_conds"]
    text = type(conds["c_crossattn"])(conds["c_crossattn"].cond * 0.5)
    cond = [{**cond[0], "model_conds": {**conds, "c_crossattn": text}}]
    return model, x, t, uncond, cond, *others


CHANGES = (wrapper, tiles, late_wrapper, perturbed, blurred, a_part_again, reference, reference_inside)
SURROUNDINGS = (cfg_function, post_cfg_function, one_hint, concatenated, masks, areas)
