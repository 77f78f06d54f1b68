"""What a pipeline is given at each step, against the method written out, from its own predictions.

The predictions are those of plain calls of the denoiser after `set_adapters`, and packed latents are unpacked
by diffusers' own function.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline
from torch import Tensor

from loratorio_ext.hosts.pipelines import compose
from loratorio_ext.settings import Settings
from tests.hosts_pipelines.models import MODELS, Model

PAPER = {"weighting": "difference", "temperature": 0.05, "gain": 0.0}
OUTPUT_LAYERS = {
    "sd3": "proj_out",
    "flux": "proj_out",
    "flux_guided": "proj_out",
    "qwen": "proj_out",
    "z_image": r"all_final_layer\.2-1\.linear",
    "wan": "proj_out",
}
Calls = list[tuple[Mapping[str, Any], Any]]


@contextmanager
def recorded(denoiser: Any) -> Any:
    """(arguments, what the pipeline got) of every call."""
    calls: Calls = []
    names = denoiser.forward.__wrapped__ if hasattr(denoiser.forward, "__wrapped__") else denoiser.forward
    names = list(names.__code__.co_varnames[1:])

    def keep(module: Any, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
        calls.append(({**dict(zip(names, args, strict=False)), **kwargs}, output[0]))

    handle = denoiser.register_forward_hook(keep, with_kwargs=True)
    try:
        yield calls
    finally:
        handle.remove()


def picture(value: Any, call: Mapping[str, Any]) -> Tensor:
    """[rows, C, H, W] of what a denoiser takes or gives."""
    if isinstance(value, list):
        value = torch.stack(value)
    if value.dim() == 3:
        return FluxPipeline._unpack_latents(value, call["height"], call["width"], 8)
    return value.squeeze(2) if value.dim() == 5 else value


def predictions(model: Model, arguments: Mapping[str, Any]) -> list[Any]:
    """The base's and each adapter's."""
    found = []
    with torch.no_grad():
        for names in ([], ["a"], ["b"]):
            if names:
                model.pipeline.set_adapters(names, [1.0])
                model.pipeline.enable_lora()
            else:
                model.pipeline.disable_lora()
            found.append(model.denoiser(**arguments)[0])
    return found


def reference_weights(base: Tensor, networks: Sequence[Tensor]) -> Tensor:
    """Ω̂ at every pixel, [N, rows, H, W]: SoftMin of the cosine in patches of 2 × 2."""

    def patches(x: Tensor) -> Tensor:
        return x.unfold(2, 2, 2).unfold(3, 2, 2).movedim(1, -1).flatten(3)  # [rows, h, w, values]

    alike = torch.stack([torch.cosine_similarity(patches(one), patches(base), dim=-1) for one in networks])
    weights = torch.softmax(-alike / PAPER["temperature"], dim=0)
    return weights.repeat_interleave(2, -1).repeat_interleave(2, -2)


def steps_of(model: Model, name: str, calls: Calls) -> list[Any]:
    """For each step (arguments, cond, uncond), each (what was given, the base's and adapters')."""
    call = model.call()
    asked = [(arguments, output, predictions(model, arguments)) for arguments, output in calls]
    steps = []
    if name in ("qwen", "wan", "flux_guided"):
        for first, second in zip(asked[::2], asked[1::2], strict=True):
            steps.append([first, second])
    else:
        steps = [[one] for one in asked]
    found = []
    for step in steps:
        parts = [[picture(value, call) for value in (output, *predicted)] for _, output, predicted in step]
        if len(step) == 1 and name != "flux":
            halves = [part.chunk(2) for part in parts[0]]
            parts = [[half[0] for half in halves], [half[1] for half in halves]]
            if name != "z_image":
                parts.reverse()
        found.append((step[0][0], *parts))
    return found


def compared(model: Model, name: str, arguments: Mapping[str, Any], predicted: Tensor) -> Tensor:
    if name != "sd_v":
        return predicted
    x = arguments["sample"][: len(predicted)]
    share = model.pipeline.scheduler.alphas_cumprod[int(arguments["timestep"])]
    return share.sqrt() * predicted + (1 - share).sqrt() * x


@pytest.mark.parametrize("recenter", [0.5, 1.0])
@pytest.mark.parametrize("name", MODELS)
def test_a_full_step_is_the_method(name: str, recenter: float) -> None:
    model = MODELS[name]()
    model.load("a", 1)
    model.load("b", 2)
    settings = Settings(**PAPER, looks=0, recenter=recenter)
    with compose(model.pipeline, settings=settings), recorded(model.denoiser) as calls:
        model.draw(num_inference_steps=2)
    steps = steps_of(model, name, calls)
    assert len(steps) == 2
    for arguments, (got, base, *networks), *unconds in steps:
        weights = reference_weights(
            compared(model, name, arguments, base),
            [compared(model, name, arguments, one) for one in networks],
        )
        expected = sum(w[:, None] * e for w, e in zip(weights, networks, strict=True))
        assert (expected - base).abs().max() > 1e-2 * base.abs().max()
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
        for got_uncond, base_uncond, *others in unconds:
            mixed = sum(w[:, None] * e for w, e in zip(weights, others, strict=True))
            expected = recenter * base_uncond + (1 - recenter) * mixed
            torch.testing.assert_close(got_uncond, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize("recenter", [0.5, 1.0])
@pytest.mark.parametrize("name", OUTPUT_LAYERS)
def test_a_placed_step_has_the_weights_of_the_look(name: str, recenter: float) -> None:
    """Adapters of the output layer alone act in a token by its map, as their predictions would be mixed."""
    model = MODELS[name]()
    model.load("a", 1, target_modules=OUTPUT_LAYERS[name])
    model.load("b", 2, target_modules=OUTPUT_LAYERS[name])
    settings = Settings(**PAPER, looks=1, recenter=recenter)
    with compose(model.pipeline, settings=settings) as composition, recorded(model.denoiser) as calls:
        model.draw(num_inference_steps=2)
    assert composition.report is not None
    assert [step.mode for step in composition.report.steps] == ["composed", "placed"]
    look, placed = steps_of(model, name, calls)
    weights = reference_weights(look[1][1], look[1][2:])
    for share, (got, base, *networks) in zip((1.0, 1 - recenter), placed[1:], strict=False):
        expected = base + share * sum(w[:, None] * (e - base) for w, e in zip(weights, networks, strict=True))
        assert (networks[0] - base).abs().max() > 1e-2 * base.abs().max()
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))
