"""What only Forge Neo has: one table of patches, weights that know their patches, latents of videos."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

TWO = "a cat <lora:te:1> <lora:lin:0.5>"


@pytest.fixture
def webui_name() -> str:
    return "forge_neo"


@pytest.fixture
def dynamic_args(webui: Any) -> Any:
    return webui.backend("args").dynamic_args


@pytest.mark.parametrize("prompt", [TWO, "a cat <lora:lin:1>", f"{TWO} <lora:dora:0.7> <lora:sliced:-0.4>"])
def test_nothing_is_merged_into_the_unet_while_all_are_composed(webui: Any, draw: Any, prompt: str) -> None:
    draw(prompt)
    before = webui.called.times_merged
    _, p = draw(prompt, {"looks": 0})
    assert p.comments == {} and webui.called.times_merged == before


def test_a_kept_network_is_merged_once(webui: Any, draw: Any) -> None:
    prompt = f"{TWO} <lora:locon:1:compose=off>"
    draw(prompt)
    before = webui.called.times_merged
    _, p = draw(prompt, {})
    assert p.comments == {} and webui.called.times_merged == before + 1
    for batches in (1, 3):
        _, p = draw([prompt] * batches, {}, n_iter=batches)
        assert p.comments == {} and webui.called.times_merged == before + 1
    draw(prompt)
    assert webui.called.times_merged == before + 2


@pytest.mark.parametrize(
    "tags", ["<lora:te:0.5> <lora:te:0.25>", "<lora:te:0.5> <lora:te:0.5>", "<lora:te:1> <lora:te:-1>"]
)
def test_one_file_twice_leaves_nothing_behind(draw: Any, tags: str) -> None:
    merged, _ = draw(f"a cat {tags}")
    composed, p = draw(f"a cat {tags}", {"looks": 0})
    assert composed.isfinite().all() and p.loratorio.passes
    after, _ = draw(f"a cat {tags}")
    assert torch.equal(merged, after)


def test_one_file_twice_at_one_strength_is_one_network(as_merged: Any) -> None:
    as_merged("a cat <lora:te:0.5> <lora:te:0.5>")


def test_a_refiner_in_the_same_unet(webui: Any, draw: Any, close: Any) -> None:
    """Neo forgets what it has loaded while the patches are there (apply_refiner with refiner_fast_sd)."""

    def forgets(params: Any) -> None:
        if params.denoiser.step == 2 and webui.model.current_lora_hash != "[]":
            webui.extra_networks.activate(params.denoiser.p, params.denoiser.p.extra_network_data)
            webui.model.current_lora_hash = "[]"

    wanted, _ = draw(TWO, {"looks": 0})
    webui.before_call(forgets)
    picture, p = draw(TWO, {"looks": 0})
    assert p.comments == {} and close(picture, wanted)


NOT_COMPOSED = {
    "nunchaku": ("nunchaku", True, "Nunchaku keeps networks inside its own model"),
    "windows": (
        "context_handler",
        SimpleNamespace(
            should_use_context=lambda x: True, execute=lambda calc, *args: calc(args[0], *args[1], *args[2:])
        ),
        "window by window",
    ),
}


@pytest.mark.parametrize("case", NOT_COMPOSED)
def test_what_cannot_be_composed_is_said_and_merged(
    draw: Any, dynamic_args: Any, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    name, value, said = NOT_COMPOSED[case]
    merged, _ = draw(TWO)
    monkeypatch.setattr(dynamic_args, name, value)
    picture, p = draw(TWO, {})
    assert any(said in comment for comment in p.comments)
    assert torch.equal(picture, merged)


def test_a_compiled_model_is_foretold(webui: Any, draw: Any, close: Any) -> None:
    merged, _ = draw(TWO)
    webui.called._torch_compile_config = {"backend": "inductor"}
    assert "switch Torch Compile off" in webui.server.obstacle()
    picture, p = draw(TWO, {})
    assert any("the model is compiled" in comment for comment in p.comments)
    assert torch.equal(picture, merged)


def test_a_model_that_is_compiled_after_networks_are_activated_is_said(
    webui: Any, draw: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """As Neo's own script does it (extensions-builtin/sd_forge_compile)."""

    class Compiles(webui.scripts.Script):  # type: ignore[name-defined, misc]
        def process_batch(self, p: Any, *args: object, **kwargs: Any) -> None:
            webui.called._torch_compile_config = ("dynamic",)

    merged, _ = draw(TWO)
    picture, p = draw(TWO, {}, scripts=[webui.new_script(), Compiles()])
    assert any("the model is compiled" in comment for comment in p.comments)
    assert p.loratorio.passes == [] and torch.equal(picture, merged)
    assert "the model is compiled" in caplog.text and "Traceback" not in caplog.text


def test_a_model_that_is_no_longer_compiled_is_composed(webui: Any, draw: Any) -> None:
    class Stops(webui.scripts.Script):  # type: ignore[name-defined, misc]
        def process_batch(self, p: Any, *args: object, **kwargs: Any) -> None:
            webui.called._torch_compile_config = None

    webui.called._torch_compile_config = ("dynamic",)
    _, p = draw(TWO, {}, scripts=[webui.new_script(), Stops()])
    assert p.comments == {} and p.loratorio.passes


@pytest.mark.parametrize("name", ["concat_latent", "nunchaku", "online_lora", "ref_latents", "dynamic_args"])
def test_a_neo_without_a_name_is_named_before_any_work(
    standin: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    args = sys.modules["backend.args"]
    monkeypatch.delattr(args if name == "dynamic_args" else args.dynamic_args, name)
    standin.load_script()
    owner = "backend.args" if name == "dynamic_args" else "dynamic_args"
    assert f"(it has no {owner}.{name})" in str(standin.server.obstacle())


def test_a_patch_of_another_shape_is_left_out_by_name(webui: Any, draw: Any) -> None:
    """As a Flux control network has for one layer of many (weight_adapter/lora.py, ``reshape``)."""

    class Widens(webui.scripts.Script):  # type: ignore[name-defined, misc]
        def after_extra_networks_activate(self, p: Any, *args: object, **kwargs: Any) -> None:
            patches = webui.model.forge_objects_after_applying_lora.unet.patches
            name = next(name for name, entries in patches.items() if entries[0][1].name == "lora")
            weights = patches[name][0][1].weights
            patches[name][0][1].weights = (*weights[:5], (99, 99))

    _, p = draw("a cat <lora:lin:1> <lora:locon:1>", {"looks": 0}, scripts=[Widens(), webui.new_script()])
    (comment,) = p.comments
    assert "network 'lin': 1 layers are left out (" in comment and "changes the weight's shape" in comment
    assert len(p.loratorio.passes[0].report.composed) == 2


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("context_handler", object(), "window by window"), ("wan", True, "a batch size above 4")],
)
def test_what_only_some_pictures_cannot_have_is_foretold(
    webui: Any, dynamic_args: Any, monkeypatch: pytest.MonkeyPatch, name: str, value: object, said: str
) -> None:
    assert webui.server.remark() is None
    monkeypatch.setattr(dynamic_args, name, value, raising=False)
    assert said in webui.server.remark() and webui.server.obstacle() is None


def of_a_video_model(webui: Any, monkeypatch: pytest.MonkeyPatch, frames: int) -> None:
    """Latents [B, C, T, H, W]; the model sees the first frame."""
    kind, common = webui.processing.StableDiffusionProcessing, webui.processing_common
    sample, first_latents = kind.sample, common.first_latents
    monkeypatch.setattr(kind, "sample", lambda p, x, c, uc: sample(p, x, c, uc)[:, :, 0])
    monkeypatch.setattr(
        common, "first_latents", lambda p: first_latents(p)[:, :, None].repeat(1, 1, frames, 1, 1)
    )

    def call(model: Any, x: torch.Tensor, t: torch.Tensor, **c: Any) -> torch.Tensor:
        found: torch.Tensor = model(x[:, :, 0], t, **c)
        return found[:, :, None].expand_as(x)

    webui.around_calls(call)


@pytest.mark.parametrize(
    ("prompt", "settings"),
    [
        (TWO, {}),
        (TWO, {"looks": 0}),
        (TWO, {"recenter": 0.5, "looks": 1}),
        (f"a cat AND a dog :0.6 {TWO[6:]}", {"looks": 2}),
        ([TWO, "a dog"], {"looks": 2, "top_k": 1}),
    ],
)
def test_a_still_picture_of_a_video_model(
    webui: Any, draw: Any, close: Any, monkeypatch: pytest.MonkeyPatch, prompt: Any, settings: Any
) -> None:
    wanted, _ = draw(prompt, settings)
    of_a_video_model(webui, monkeypatch, 1)
    picture, p = draw(prompt, settings)
    assert p.comments == {} and close(picture, wanted)


def test_a_video_is_merged_and_said(webui: Any, draw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    merged, _ = draw(TWO)
    of_a_video_model(webui, monkeypatch, 3)
    picture, p = draw(TWO, {})
    assert any("a video of 3 frames; only still pictures can be composed" in one for one in p.comments)
    assert torch.equal(picture, merged)


def test_a_reference_takes_the_rows_of_one_image(
    webui: Any, draw: Any, close: Any, dynamic_args: Any
) -> None:
    prompt, settings = [TWO, "a dog"], {"looks": 0}
    wanted, _ = draw(prompt, settings)
    webui.called.calls.clear()
    dynamic_args.concat_latent = torch.zeros(1)
    picture, p = draw(prompt, settings)
    assert p.comments == {} and close(picture, wanted)
    assert max(webui.called.calls) <= 2


def test_texts_of_different_length_keep_their_tokens(webui: Any, draw: Any) -> None:
    """A model that is no UNet sees every text at its own length, whoever shares the call."""
    lengths: list[tuple[int, ...]] = []

    def call(model: Any, x: Any, t: Any, **c: Any) -> Any:
        lengths.append(tuple(c["c_crossattn"].shape[:2]))
        return model(x, t, **c)

    webui.around_calls(call)
    prompt = "a cat with a long list of words after it <lora:te:1> <lora:lin:1>"
    draw(prompt, {"looks": 0}, negative="none")
    assert {tokens for _, tokens in lengths} == {16}  # of a UNet: Neo repeats the shorter one
    del webui.unet.input_blocks
    lengths.clear()
    _, p = draw(prompt, {"looks": 0}, negative="none")
    assert p.comments == {} and {tokens for _, tokens in lengths} == {8, 16}


def test_patches_of_a_network_that_cannot_be_told_apart(webui: Any, draw: Any) -> None:
    """Another extension has taken some of them out: nothing is composed, and it is said."""

    class Other(webui.scripts.Script):  # type: ignore[name-defined, misc]
        def after_extra_networks_activate(self, p: Any, *args: object, **kwargs: Any) -> None:
            patches = webui.model.forge_objects_after_applying_lora.unet.patches
            del patches[next(iter(patches))]

    merged, _ = draw(TWO, scripts=[Other()])
    webui.model.current_lora_hash = "[]"
    picture, p = draw(TWO, {}, scripts=[Other(), webui.new_script()])
    assert any("cannot be told from what others have" in comment for comment in p.comments)
    assert torch.equal(picture, merged)
