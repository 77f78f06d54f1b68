"""What is refused before anything is touched, and that nothing is left behind."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelerate
import pytest
import torch
from diffusers import EDMEulerScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionPAGPipeline
from diffusers.hooks import apply_group_offloading

import loratorio_ext as loratorio
from loratorio_ext.hosts.pipelines.adapters import tuner_layers
from loratorio_ext.settings import Settings
from tests.hosts_diffusers.pipelines import write_networks
from tests.hosts_pipelines import models as draws
from tests.hosts_pipelines.models import MODELS, Model


@pytest.fixture
def model() -> Model:
    model = MODELS["sd"]()
    model.load("a", 1)
    model.load("b", 2)
    model.pipeline.set_adapters(["a", "b"], [0.7, 1.0])
    return model


def state(model: Model) -> Any:
    denoiser = model.denoiser
    layers = {
        name: (list(layer.active_adapters), layer.disable_adapters, dict(layer.scaling))
        for name, layer in tuner_layers(denoiser).items()
    }
    weights = {
        name: (parameter.detach().clone(), parameter.requires_grad)
        for name, parameter in denoiser.named_parameters()
    }
    hooks = [
        (name, len(module._forward_hooks), len(module._forward_pre_hooks), "forward" in vars(module))
        for name, module in denoiser.named_modules()
    ]
    return layers, weights, hooks


def assert_same(before: Any, after: Any) -> None:
    assert before[0] == after[0]
    assert before[2] == after[2]
    assert before[1].keys() == after[1].keys()
    for name, (weight, gradient) in before[1].items():
        assert gradient == after[1][name][1], name
        assert torch.equal(weight, after[1][name][0]), name


@pytest.mark.parametrize("disabled", [False, True])
def test_an_exception_leaves_nothing_behind(model: Model, disabled: bool) -> None:
    if disabled:
        model.pipeline.disable_lora()
    plain, before = model.draw(), state(model)

    def stop(pipeline: Any, step: int, timestep: Any, values: Any) -> Any:
        if step == 2:
            raise KeyboardInterrupt
        return values

    with pytest.raises(KeyboardInterrupt), loratorio.compose(model.pipeline) as composition:
        model.draw(callback_on_step_end=stop)
    assert composition.report is not None
    assert len(composition.report.steps) == 3
    assert not composition.report.finished
    assert_same(before, state(model))
    assert torch.equal(model.draw(), plain)


def test_an_exception_inside_the_model_leaves_nothing_behind(model: Model) -> None:
    plain, before = model.draw(), state(model)

    def fail(module: Any, args: Any) -> None:
        raise RuntimeError("broken")

    with loratorio.compose(model.pipeline, settings=loratorio.Settings(looks=1)):
        expected = model.draw()
    with loratorio.compose(model.pipeline, settings=loratorio.Settings(looks=1)):
        handle = model.denoiser.conv_out.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="broken"):
            model.draw()
        handle.remove()
        assert torch.equal(model.draw(), expected)
    assert_same(before, state(model))
    assert torch.equal(model.draw(), plain)


def test_a_callback_can_interrupt(model: Model) -> None:
    def stop(pipeline: Any, step: int, timestep: Any, values: Any) -> Any:
        pipeline._interrupt = step == 1
        return values

    with loratorio.compose(model.pipeline) as composition:
        model.draw(callback_on_step_end=stop)
        report = composition.report
        assert report is not None
        assert len(report.steps) == 2
        model.draw()
        assert composition.report is not report
        assert composition.report is not None
        assert composition.report.finished
    assert not report.finished


def compiled(model: Model) -> None:
    model.pipeline.unet = torch.compile(model.pipeline.unet)


def compiled_in_place(model: Model) -> None:
    model.pipeline.unet.mid_block.compile()


def fused(model: Model) -> None:
    model.pipeline.fuse_lora()


def fused_projections(model: Model) -> None:
    model.pipeline.unload_lora_weights()
    model.pipeline.fuse_qkv_projections()
    model.load("c", 1, target_modules=["conv1"])


def none_loaded(model: Model) -> None:
    model.pipeline.unload_lora_weights()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (compiled, "is compiled"),
        (compiled_in_place, "is compiled"),
        (fused, "'a', 'b' .* are fused into the weights"),
        (fused_projections, "fused qkv projections"),
        (none_loaded, "has no adapters"),
    ],
)
def test_a_state_that_cannot_be_composed_is_refused(
    model: Model, spoil: Callable[[Model], None], reason: str
) -> None:
    spoil(model)
    before = state(model) if spoil not in (compiled, none_loaded) else None
    with pytest.raises(ValueError, match=reason), loratorio.compose(model.pipeline):
        pass
    if before is not None:
        assert_same(before, state(model))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"adapters": ["a", "c"]}, "there is no adapter 'c'; loaded are 'a', 'b'"),
        ({"adapters": "a"}, r"adapters is 'a'; give a list of names, such as \['a'\]"),
        ({"adapters": {"a": 0.5}}, r"adapters is \{'a': 0.5\}; give a list of names.*set_adapters"),
        ({"adapters": Settings()}, r"adapters is Settings.*settings to settings="),
        ({"adapters": [None]}, "give a list of names"),
        ({"keep": 3}, "keep is 3; give a list of names"),
        ({"adapters": ["a", "a"]}, "adapter 'a' is named twice"),
        ({"adapters": ["a"], "keep": ["a"]}, "adapter 'a' is named twice"),
        ({"settings": {"looks": 2}}, r"give loratorio.Settings\(...\), as Settings\(looks=2\)"),
    ],
)
def test_names_that_cannot_be_are_refused(model: Model, arguments: Any, reason: str) -> None:
    before = state(model)
    with pytest.raises(ValueError, match=reason):
        loratorio.compose(model.pipeline, **arguments)
    assert_same(before, state(model))


def test_a_context_in_a_context_is_refused(model: Model) -> None:
    with (
        loratorio.compose(model.pipeline),
        pytest.raises(ValueError, match="already"),
        loratorio.compose(model.pipeline),
    ):
        pass


def test_a_pipeline_with_other_rows_is_refused(model: Model) -> None:
    pipeline = StableDiffusionPAGPipeline(**model.pipeline.components, requires_safety_checker=False)
    with (
        pytest.raises(ValueError, match="StableDiffusionPAGPipeline cannot be composed"),
        loratorio.compose(pipeline),
    ):
        pass


def test_a_scheduler_of_another_kind_is_refused_when_it_is_used(model: Model) -> None:
    model.pipeline.scheduler = EDMEulerScheduler()
    with loratorio.compose(model.pipeline), pytest.raises(ValueError, match="does not fit Stable Diffusion"):
        model.draw()


def offloaded_by_model(model: Model) -> None:
    """As `enable_model_cpu_offload` does it, on the CPU; it takes its hooks away and puts new ones on."""
    accelerate.cpu_offload_with_hook(model.denoiser, torch.device("cpu"))


def offloaded_by_layer(model: Model) -> None:
    """As `enable_sequential_cpu_offload` does it, on the CPU."""
    accelerate.cpu_offload(model.denoiser, torch.device("cpu"))


def offloaded_by_group(model: Model) -> None:
    cpu = torch.device("cpu")
    apply_group_offloading(model.denoiser, onload_device=cpu, offload_device=cpu, offload_type="leaf_level")


@pytest.mark.parametrize("offload", [offloaded_by_model, offloaded_by_layer, offloaded_by_group])
def test_offloaded_models_are_composed(model: Model, offload: Callable[[Model], None]) -> None:
    with loratorio.compose(model.pipeline):
        expected = model.draw()
    merged = model.draw()
    offload(model)
    with loratorio.compose(model.pipeline):
        first = model.draw()
        if offload is offloaded_by_model:
            accelerate.hooks.remove_hook_from_module(model.denoiser)
            offload(model)
        second = model.draw()
    assert torch.equal(first, expected)
    assert torch.equal(second, expected)
    assert torch.equal(model.draw(), merged)


def test_the_public_names_are_there() -> None:
    for name in loratorio.__all__:
        assert getattr(loratorio, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'composed'"):
        loratorio.composed  # noqa: B018
    assert copy.copy(loratorio.Settings()) == loratorio.Settings()


def changed_by_loading(model: Model) -> None:
    model.load("late", 9)


def changed_by_deleting(model: Model) -> None:
    model.pipeline.delete_adapters("b")


@pytest.mark.parametrize("change", [changed_by_loading, changed_by_deleting])
def test_adapters_changed_inside_are_refused_and_leave_no_harm(
    model: Model, change: Callable[[Model], None]
) -> None:
    with (
        loratorio.compose(model.pipeline),
        pytest.raises(RuntimeError, match="do that before compose"),
    ):
        change(model)
        model.draw(num_inference_steps=1)
    other = MODELS["sd"]()
    other.load("a", 1)
    other.load("b", 2)
    other.pipeline.set_adapters(["a", "b"], [0.7, 1.0])
    change(other)
    assert torch.equal(model.draw(num_inference_steps=2), other.draw(num_inference_steps=2))


def composed(model: Model, **more: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    with loratorio.compose(model.pipeline, **more) as composition:
        model.draw(num_inference_steps=1)
    assert composition.report is not None
    return composition.report.composed, composition.report.warnings


def test_set_adapters_says_which_are_composed(model: Model) -> None:
    model.pipeline.set_adapters(["a"], [0.7])
    with pytest.warns(UserWarning, match="'b' loaded, but not active") as told:
        assert composed(model)[0] == ("a",)
    assert [one.filename for one in told if "LoRAtorio" in str(one.message)] == [draws.__file__]
    assert composed(model, keep=["a"], adapters=["b"]) == (("b",), ())


def test_after_loading_all_are_composed(tmp_path: Path) -> None:
    pipeline = MODELS["sd"]().pipeline
    write_networks(pipeline, tmp_path, ("star", "grid"))
    for name in ("star", "grid"):
        file = tmp_path / f"{name}.safetensors"
        pipeline.load_lora_weights(file, adapter_name=name)
    model = Model(pipeline, MODELS["sd"]().call, ())
    names, warned = composed(model)
    assert names == ("star", "grid")
    assert not [one for one in warned if "active" in one]
    pipeline.set_adapters(["grid"])
    assert any("write compose(pipe, ['grid'])" in one for one in composed(model)[1])
    pipeline.disable_lora()
    assert any("disabled (disable_lora)" in one for one in composed(model)[1])


def test_other_adapters_chosen_inside_are_refused(model: Model) -> None:
    model.pipeline.set_adapters(["a", "b"], [0.7, 1.0])
    before = model.draw(num_inference_steps=2)
    with loratorio.compose(model.pipeline):
        first = model.draw(num_inference_steps=2)
        model.pipeline.set_adapters(["a", "b"], [0.1, 1.0])  # other strengths count
        assert not torch.equal(model.draw(num_inference_steps=2), first)
        model.pipeline.set_adapters(["a"])
        with pytest.raises(RuntimeError, match=r"chosen \(set_adapters\), enabled or deleted inside compose"):
            model.draw(num_inference_steps=2)
    model.pipeline.set_adapters(["a", "b"], [0.7, 1.0])
    assert torch.equal(model.draw(num_inference_steps=2), before)


def test_another_pipeline_inside_is_refused(model: Model) -> None:
    other = StableDiffusionImg2ImgPipeline(**model.pipeline.components, requires_safety_checker=False)
    with loratorio.compose(model.pipeline):
        expected = model.draw(num_inference_steps=2)
        with pytest.raises(RuntimeError, match=r"compose\(<the StableDiffusionImg2ImgPipeline>\)"):
            other("a", image=torch.rand(1, 3, 16, 16), num_inference_steps=2, output_type="latent")
        with pytest.raises(RuntimeError, match="called by something else"):
            model.denoiser(torch.rand(1, 4, 8, 8), 1, torch.rand(1, 7, 16))
        assert torch.equal(model.draw(num_inference_steps=2), expected)


def test_compiling_inside_is_refused(model: Model) -> None:
    with loratorio.compose(model.pipeline), pytest.raises(RuntimeError, match="replaced or compiled inside"):
        model.pipeline.unet = torch.compile(model.pipeline.unet, backend="eager")
        model.draw(num_inference_steps=1)


def test_two_threads_are_told_what_to_do(model: Model) -> None:
    """The second picture begins while the first is being drawn."""

    def second() -> None:
        model.draw(num_inference_steps=1)

    def begin(pipeline: Any, step: int, timestep: Any, values: Any) -> Any:
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
        return values

    reason = "two threads call this pipeline at once.*pipeline of its own"
    with loratorio.compose(model.pipeline), pytest.raises(RuntimeError, match=reason):
        model.draw(num_inference_steps=2, callback_on_step_end=begin)
