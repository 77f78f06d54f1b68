"""Other extensions' model options, hints, masks and areas beside ours."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

PROMPT = "a cat <lora:te:1>"
ALONE = {"recenter": 0.0}


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.allclose(a, b, rtol=1e-3, atol=2e-4))


class Other:
    """An extension that changes the UNet's options before every sampling."""

    def __init__(self, change: Any) -> None:
        self.change = change

    def process_before_every_sampling(self, p: Any, *args: object, **kwargs: Any) -> None:
        unet = p.sd_model.forge_objects.unet.clone()
        self.change(unet)
        p.sd_model.forge_objects.unet = unet

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **kwargs: None


def both_orders(webui: SimpleNamespace, change: Any, prompt: Any = PROMPT, settings: Any = None) -> Any:
    """Pictures with the other extension before and after ours, and merged without ours."""
    ours, other = webui.script.LoRAtorio(), Other(change)
    pictures = []
    for scripts in ([other, ours], [ours, other], [other]):
        p = webui.processing.StableDiffusionProcessingTxt2Img(
            prompt, scripts=scripts, script_args=[settings or ALONE]
        )
        pictures.append(webui.processing.process_images(p))
        assert p.comments == {}
    return pictures


def cfg_function(unet: Any) -> None:
    unet.model_options["sampler_cfg_function"] = lambda a: a["uncond"] + (a["cond"] - a["uncond"]) * 3.0


def post_cfg_function(unet: Any) -> None:
    unet.model_options.setdefault("sampler_post_cfg_function", []).append(
        lambda a: a["denoised"] + 0.5 * (a["cond_denoised"] - a["uncond_denoised"])
    )


def wrapper(unet: Any) -> None:
    def halved(apply_model: Any, call: Any) -> Any:
        return 0.5 * apply_model(call["input"], call["timestep"], **call["c"])

    unet.model_options["model_function_wrapper"] = halved


def tiles(unet: Any) -> None:
    """As tiled diffusion: the latent's halves as rows of one call."""

    def in_two(apply_model: Any, call: Any) -> Any:
        left, right = call["input"].chunk(2, dim=3)
        c = {**call["c"], "c_crossattn": call["c"]["c_crossattn"].repeat(2, 1, 1)}
        options = c["transformer_options"]
        c["transformer_options"] = {**options, "cond_or_uncond": options["cond_or_uncond"] * 2}
        both = apply_model(torch.cat((left, right)), call["timestep"].repeat(2), **c)
        return torch.cat(both.chunk(2), dim=3)

    unet.model_options["model_function_wrapper"] = in_two


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


CHANGES = (cfg_function, post_cfg_function, wrapper, tiles)
BATCH = ["a cat <lora:te:1>", "a red dog"]


@pytest.mark.parametrize(
    ("prompt", "change"),
    [
        (BATCH, control),
        *((prompt, change) for prompt in (PROMPT, BATCH) for change in (*CHANGES, one_hint, concatenated)),
        *((prompt, change) for prompt in (PROMPT, BATCH) for change in (masks, areas)),
    ],
)
def test_other_extensions_act_as_without_ours(webui: SimpleNamespace, change: Any, prompt: Any) -> None:
    before, after, merged = both_orders(webui, change, prompt)
    assert close(before, merged) and close(after, merged)
    plain = webui.processing.StableDiffusionProcessingTxt2Img(prompt)
    assert not close(webui.processing.process_images(plain), merged) or change in (tiles, masks)


@pytest.mark.parametrize("change", [*CHANGES, control])
def test_and_with_several_networks(webui: SimpleNamespace, change: Any) -> None:
    prompt = ["a cat AND a dog :0.4 <lora:te:1> <lora:lin:1>", "a red dog AND a cat"]
    first, second, _ = both_orders(webui, change, prompt, {"top_k": 1, "rescan": 3})
    assert close(first, second)


def test_the_cost_that_is_told_follows_the_conditions_that_act(webui: SimpleNamespace) -> None:
    """``areas`` has two conditions from the beginning and a third one at the later sigmas."""
    seen: list[Any] = []

    def watched(unet: Any) -> None:
        areas(unet)

        def watching(apply_model: Any, call: Any) -> Any:
            seen.append(webui.shared.state.textinfo)
            return apply_model(call["input"], call["timestep"], **call["c"])

        unet.model_options["model_function_wrapper"] = watching

    scripts = [Other(watched), webui.script.LoRAtorio()]
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


def test_replaced_texts_are_said(webui: SimpleNamespace) -> None:
    for prompt, said in (("a cat <lora:te:1>", True), ("a cat <lora:lin:1>", False)):
        p = webui.processing.StableDiffusionProcessingTxt2Img(
            prompt, scripts=[Other(other_texts), webui.script.LoRAtorio()], script_args=[ALONE]
        )
        composed = webui.processing.process_images(p)
        assert any("replaced the prompt's conditions" in text for text in p.comments) is said
        merged = webui.processing.StableDiffusionProcessingTxt2Img(prompt, scripts=[Other(other_texts)])
        assert close(composed, webui.processing.process_images(merged)) is not said


def test_whoever_evaluates_again_gets_the_real_model(webui: SimpleNamespace, draw: Any) -> None:
    """PAG and SAG evaluate from a function after the guidance."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    evaluate = sys.modules["backend.sampling.sampling_function"].calc_cond_uncond_batch

    def perturbed(unet: Any) -> None:
        def again(a: Any) -> Any:
            cond, _ = evaluate(a["model"], a["cond"], None, a["input"], a["sigma"], a["model_options"])
            seen.append((cond.clone(), a["cond_denoised"].clone()))
            return a["denoised"]

        unet.model_options.setdefault("sampler_post_cfg_function", []).append(again)

    both_orders(webui, perturbed)
    plain = webui.processing.StableDiffusionProcessingTxt2Img("a cat", scripts=[Other(perturbed)])
    webui.processing.process_images(plain)
    base = seen[-4][0]  # its first step
    for again, composed in (seen[0], seen[4]):
        assert close(again, base)
        assert not close(again, composed)


def test_a_function_that_evaluates_before_ours_does_not_take_the_answer(webui: SimpleNamespace) -> None:
    evaluate = sys.modules["backend.sampling.sampling_function"].calc_cond_uncond_batch

    def early(unet: Any) -> None:
        def before(*evaluation: Any) -> Any:
            model, cond, uncond, x, t, options = evaluation
            evaluate(model, cond, uncond, x, t, options)
            return evaluation

        unet.model_options.setdefault("sampler_pre_cfg_function", []).append(before)

    before, after, merged = both_orders(webui, early)
    assert close(before, merged) and close(after, merged)


def test_memory_is_announced(webui: SimpleNamespace) -> None:
    announced: list[int] = []

    class Watching(Other):
        def process_before_every_sampling(self, p: Any, *args: object, **kwargs: Any) -> None:
            announced.append(p.sd_model.forge_objects.unet.extra_preserved_memory_during_sampling)

    p = webui.processing.StableDiffusionProcessingTxt2Img(
        PROMPT, scripts=[webui.script.LoRAtorio(), Watching(None)], script_args=[{}]
    )
    webui.processing.process_images(p)
    model = webui.shared.sd_model.k_model
    rows = model.memory_required([4, 4, 8, 8]) - model.memory_required([2, 4, 8, 8])
    assert rows <= announced[0] < rows + 1e6


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
def test_hints_with_calls_of_any_size(webui: SimpleNamespace, rows: int) -> None:
    """Calls that part an image's conditional from its unconditional row, with a hint for each image."""
    prompt = ["a cat <lora:te:1> <lora:lin:1>", "a red dog"]
    wanted, _, _ = both_orders(webui, control, prompt, {"patch_size": 4})
    picture, _, _ = both_orders(webui, control, prompt, {"patch_size": 4, "batch_rows": rows})
    assert close(picture, wanted)


def test_patches_of_others_survive_a_failure(webui: SimpleNamespace) -> None:
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
            return apply_model(call["input"], call["timestep"], **call["c"])

        unet.model_options["model_function_wrapper"] = wrapper

    pictures = []
    for scripts in ([Other(failing), webui.script.LoRAtorio()], [Other(patched)]):
        p = webui.processing.StableDiffusionProcessingTxt2Img(
            PROMPT, scripts=scripts, script_args=[{"recenter": 0.5}]
        )
        pictures.append(webui.processing.process_images(p))
    assert close(*pictures)
