"""Other extensions' model options, hints, masks and areas beside ours."""

from __future__ import annotations

import sys
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
import torch

PROMPT = "a cat <lora:te:1>"
ALONE = {"recenter": 0.0}


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.allclose(a, b, rtol=1e-3, atol=2e-4))


def cfg_function(unet: Any) -> None:
    unet.model_options["sampler_cfg_function"] = lambda a: a["uncond"] + (a["cond"] - a["uncond"]) * 3.0


def post_cfg_function(unet: Any) -> None:
    unet.model_options.setdefault("sampler_post_cfg_function", []).append(
        lambda a: a["denoised"] + 0.5 * (a["cond_denoised"] - a["uncond_denoised"])
    )


class Hints:
    """One for every image, repeated over the rows of a chunk as Forge's ControlNet does it."""

    def __init__(self, images: int) -> None:
        self.hints = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1)[:images]

    def get_control(self, x: torch.Tensor, t: torch.Tensor, c: Any, chunks: int) -> torch.Tensor:
        rows = len(x) // chunks
        return self.hints.repeat(-(-rows // len(self.hints)), 1, 1, 1)[:rows].repeat(chunks, 1, 1, 1)


def control(unet: Any) -> None:
    unet.controlnet_linked_list = Hints(2)


def one_hint(unet: Any) -> None:
    unet.controlnet_linked_list = Hints(1)


def concatenated(unet: Any) -> None:
    unet.extra_concat_condition = torch.tensor([1.0, 2.0]).view(2, 1, 1, 1).expand(2, 5, 8, 8)


def masks(unet: Any) -> None:
    def modifier(
        model: Any, x: Any, t: Any, uncond: Any, cond: Any, scale: Any, options: Any, seed: Any
    ) -> Any:
        left = torch.ones(len(x), 8, 8)
        left[:, :, 4:] = 0.25
        cond = [{**cond[0], "mask": left, "strength": 0.5}, {**cond[0], "strength": 0.5}]
        return model, x, t, uncond, cond, scale, options, seed

    unet.model_options.setdefault("conditioning_modifiers", []).append(modifier)


def areas(unet: Any) -> None:
    def modifier(
        model: Any, x: Any, t: Any, uncond: Any, cond: Any, scale: Any, options: Any, seed: Any
    ) -> Any:
        parts = [{**cond[0], "area": (8, 4, 0, left), "strength": 0.5} for left in (0, 4)]
        late = {**cond[0], "timestep_start": 3.0, "strength": 0.0}
        return model, x, t, uncond, [*parts, late], scale, options, seed

    unet.model_options.setdefault("conditioning_modifiers", []).append(modifier)


CHANGES = (cfg_function, post_cfg_function)
BATCH = ["a cat <lora:te:1>", "a red dog"]


@pytest.mark.parametrize(
    ("prompt", "change"),
    [
        (BATCH, control),
        *((prompt, change) for prompt in (PROMPT, BATCH) for change in (*CHANGES, one_hint, concatenated)),
        *((prompt, change) for prompt in (PROMPT, BATCH) for change in (masks, areas)),
    ],
)
def test_other_extensions_act_as_without_ours(
    webui: SimpleNamespace, extensions: SimpleNamespace, change: Any, prompt: Any
) -> None:
    before, after, merged = extensions.both_orders(change, prompt)
    assert close(before, merged) and close(after, merged)
    plain = webui.processing.StableDiffusionProcessingTxt2Img(prompt)
    assert not close(webui.processing.process_images(plain), merged) or change is masks


@pytest.mark.parametrize("change", [*CHANGES, control])
def test_and_with_several_networks(webui: SimpleNamespace, extensions: SimpleNamespace, change: Any) -> None:
    prompt = ["a cat AND a dog :0.4 <lora:te:1> <lora:lin:1>", "a red dog AND a cat"]
    first, second, _ = extensions.both_orders(change, prompt, {"top_k": 1, "rescan": 3})
    assert close(first, second)


def test_the_cost_that_is_told_follows_the_conditions_that_act(
    webui: SimpleNamespace, extensions: SimpleNamespace
) -> None:
    """``areas`` has two conditions from the beginning and a third one at the later sigmas."""
    seen: list[Any] = []

    def watched(unet: Any) -> None:
        areas(unet)

        def watching(apply_model: Any, call: Any) -> Any:
            seen.append(webui.shared.state.textinfo)
            return apply_model(call["input"], call["timestep"], **call["c"])

        unet.model_options["model_function_wrapper"] = watching

    scripts = [extensions.Other(watched), webui.script.LoRAtorio()]
    p = webui.processing.StableDiffusionProcessingTxt2Img(PROMPT, scripts=scripts, script_args=[ALONE])
    webui.processing.process_images(p)
    assert list(dict.fromkeys(seen)) == [
        "LoRAtorio: 6 predictions at this step instead of 3",
        "LoRAtorio: 8 predictions at this step instead of 4",
    ]


def other_texts(unet: Any) -> None:
    def modifier(
        model: Any, x: Any, t: Any, uncond: Any, cond: Any, scale: Any, options: Any, seed: Any
    ) -> Any:
        conds = cond[0]["model_conds"]
        text = type(conds["c_crossattn"])(conds["c_crossattn"].cond * 0.5)
        cond = [{**cond[0], "model_conds": {**conds, "c_crossattn": text}}]
        return model, x, t, uncond, cond, scale, options, seed

    unet.model_options.setdefault("conditioning_modifiers", []).append(modifier)


def test_replaced_texts_are_said(webui: SimpleNamespace, extensions: SimpleNamespace) -> None:
    for prompt, said in (("a cat <lora:te:1>", True), ("a cat <lora:lin:1>", False)):
        p = webui.processing.StableDiffusionProcessingTxt2Img(
            prompt, scripts=[extensions.Other(other_texts), webui.script.LoRAtorio()], script_args=[ALONE]
        )
        composed = webui.processing.process_images(p)
        assert any("replaced the prompt's conditions" in text for text in p.comments) is said
        merged = webui.processing.StableDiffusionProcessingTxt2Img(
            prompt, scripts=[extensions.Other(other_texts)]
        )
        assert close(composed, webui.processing.process_images(merged)) is not said


def test_memory_is_announced(webui: SimpleNamespace, extensions: SimpleNamespace) -> None:
    announced: list[int] = []

    class Watching(extensions.Other):
        def process_before_every_sampling(self, p: Any, *args: object, **kwargs: Any) -> None:
            announced.append(p.sd_model.forge_objects.unet.extra_preserved_memory_during_sampling)

    p = webui.processing.StableDiffusionProcessingTxt2Img(
        PROMPT, scripts=[webui.script.LoRAtorio(), Watching(None)], script_args=[{}]
    )
    webui.processing.process_images(p)
    model = webui.shared.sd_model.k_model
    rows = model.memory_required([4, 4, 8, 8]) - model.memory_required([2, 4, 8, 8])
    assert rows <= announced[0] < rows + 1e6


@pytest.mark.parametrize("kind", ["lin", "loha", "dora", "full"])
def test_the_networks_are_announced_whatever_their_kind(
    webui: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Low-rank ones with their parts, others as large as the layers' weights."""
    memory = sys.modules["loratorio_ext.hosts.forge.memory"]
    announced: list[int] = []
    original = memory.tensors_at_once

    def at_once(*arguments: Any) -> int:
        announced.append(original(*arguments))
        return announced[-1]

    monkeypatch.setattr(memory, "tensors_at_once", at_once)
    p = webui.processing.StableDiffusionProcessingTxt2Img(
        f"a cat <lora:{kind}:1>", scripts=[webui.script.LoRAtorio()], script_args=[{}]
    )
    webui.processing.process_images(p)
    weights = sum(
        module.weight.numel()
        for name, module in webui.shared.sd_model.k_model.named_modules()
        if "attentions" in name and getattr(module, "weight", torch.ones(1)).dim() == 2
    )
    if kind == "lin":
        assert 0 < announced[0] < 4 * weights
    else:
        assert 4 * weights <= announced[0] < 4.5 * weights


def test_a_pool_is_announced_as_far_as_it_lies_there(webui: SimpleNamespace) -> None:
    tensors_at_once = sys.modules["loratorio_ext.hosts.forge.memory"].tensors_at_once
    random = Random(0)
    for _ in range(200):
        networks = [random.randint(1, 100) for _ in range(random.randint(1, 40))]
        rows, kept = random.randint(1, 20), random.randint(0, 500)
        at_once = tensors_at_once(networks, rows, kept)
        assert max(networks) <= at_once <= min(sum(networks), rows * max(networks) + kept)
        assert rows < len(networks) or at_once == sum(networks)


def test_quantised_weights_are_read_and_left_alone(webui: SimpleNamespace, draw: Any) -> None:
    """DoRA and LoHa need the plain weight of a layer that stores whole numbers."""
    forge = sys.modules["loratorio_ext.hosts.forge.webui"]
    layer = torch.nn.Linear(3, 2, bias=False)
    packed = torch.nn.Parameter(torch.tensor([[100, -50, 25], [0, 10, 200]], dtype=torch.int32), False)
    packed.gguf_cls = object()
    layer.weight = packed
    assert torch.equal(forge.plain_weight(layer), packed.float() / 100)
    four_bits = torch.nn.Parameter(torch.ones(2, 3, dtype=torch.uint8), False)
    four_bits.bnb_quantized = True
    layer.weight = four_bits
    webui.operations.bnb_avaliable = True
    assert torch.equal(forge.plain_weight(layer), torch.full((2, 3), 0.1))
    layer.weight = torch.nn.Parameter(torch.ones(2, 3, dtype=torch.float8_e4m3fn), False)
    layer.scale_weight = torch.tensor(0.5)
    assert torch.equal(forge.plain_weight(layer), torch.full((2, 3), 0.5))


@pytest.mark.parametrize("rows", [0, 1, 3, 5])
def test_hints_with_calls_of_any_size(webui: SimpleNamespace, extensions: SimpleNamespace, rows: int) -> None:
    """Calls that part an image's conditional from its unconditional row, with a hint for each image."""
    prompt = ["a cat <lora:te:1> <lora:lin:1>", "a red dog"]
    wanted, _, _ = extensions.both_orders(control, prompt, {"patch_size": 4})
    picture, _, _ = extensions.both_orders(control, prompt, {"patch_size": 4, "batch_rows": rows})
    assert close(picture, wanted)


def test_patches_of_others_survive_a_failure(webui: SimpleNamespace, extensions: SimpleNamespace) -> None:
    """An extension adds patches to the UNet; when composing fails, they act on beside the merged networks."""

    def patched(unet: Any) -> None:
        tensors = webui.utils.load_torch_file(str(webui.folder / "locon.safetensors"))
        original = webui.shared.sd_model.forge_objects_original
        other, _ = webui.networks.load_lora_for_models(original.unet, original.clip, tensors, 0.5, 0.5)
        unet.lora_patches = {**unet.lora_patches, **other.lora_patches}

    def failing(unet: Any) -> None:
        patched(unet)

        def wrapper(apply_model: Any, call: Any) -> Any:
            if len(call["input"]) > 2:
                raise RuntimeError("no")
            c = call["c"]  # changed, so that every network's rows come by
            return apply_model(
                call["input"],
                call["timestep"],
                **{**c, "transformer_options": {**c["transformer_options"], "mark": 1}},
            )

        unet.model_options["model_function_wrapper"] = wrapper

    pictures = []
    for scripts in ([extensions.Other(failing), webui.script.LoRAtorio()], [extensions.Other(patched)]):
        p = webui.processing.StableDiffusionProcessingTxt2Img(
            PROMPT, scripts=scripts, script_args=[{"recenter": 0.5}]
        )
        pictures.append(webui.processing.process_images(p))
    assert close(*pictures)
