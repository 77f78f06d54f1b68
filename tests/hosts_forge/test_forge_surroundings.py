"""Other extensions' model options, hints, masks and areas beside ours."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from loratorio_ext.run import Run

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


def evaluate(*evaluation: Any) -> Any:
    return sys.modules["backend.sampling.sampling_function"].calc_cond_uncond_batch(*evaluation)


def add_after_guidance(unet: Any, function: Any) -> None:
    unet.model_options.setdefault("sampler_post_cfg_function", []).append(function)


def perturbed(unet: Any) -> None:
    """As PAG: the conditions once more, in a model that is not quite the same."""

    def worse(apply_model: Any, call: Any) -> Any:
        c = {**call["c"], "c_crossattn": call["c"]["c_crossattn"] * 0.9}
        return apply_model(call["input"], call["timestep"] * 0.9, **c)

    def function(a: Any) -> Any:
        ours = a["model_options"].get("model_function_wrapper")
        chained = (lambda apply_model, call: ours(partial_of(worse, apply_model), call)) if ours else worse
        options = {**a["model_options"], "model_function_wrapper": chained}
        degraded, _ = evaluate(a["model"], a["cond"], None, a["input"], a["sigma"], options)
        return a["denoised"] + 2.0 * (a["cond_denoised"] - degraded)

    add_after_guidance(unet, function)


def partial_of(wrapper: Any, apply_model: Any) -> Any:
    def asked(x: Any, t: Any, **c: Any) -> Any:
        halves = c["transformer_options"]["cond_or_uncond"]
        return wrapper(apply_model, {"input": x, "timestep": t, "c": c, "cond_or_uncond": halves})

    return asked


def blurred(unet: Any) -> None:
    """As SAG: the unconditional once more, of another latent."""

    def function(a: Any) -> Any:
        if a["uncond"] is None:
            return a["denoised"]
        noised = a["input"].flip(3) * 0.5
        again, _ = evaluate(a["model"], a["uncond"], None, noised, a["sigma"], a["model_options"])
        return a["denoised"] + 0.5 * (a["uncond_denoised"] - again)

    add_after_guidance(unet, function)


def a_part_again(unet: Any) -> None:
    """An evaluation after the guidance whose latent is smaller."""

    def function(a: Any) -> Any:
        left = a["input"][..., :4]
        again, _ = evaluate(a["model"], a["cond"], None, left, a["sigma"], a["model_options"])
        return torch.cat((a["denoised"][..., :4] + again, a["denoised"][..., 4:]), dim=3)

    add_after_guidance(unet, function)


def reference(unet: Any) -> None:
    """As ControlNet's reference: another picture is evaluated before the denoiser's own."""
    inner = sys.modules["backend.sampling.sampling_function"].sampling_function_inner

    def modifier(
        model: Any, x: Any, t: Any, uncond: Any, cond: Any, scale: Any, options: Any, seed: Any
    ) -> Any:
        seen = inner(model, x.flip(2), t, uncond, cond, 1, options, seed)[0]
        return model, x + 0.1 * seen, t, uncond, cond, scale, options, seed

    unet.model_options.setdefault("conditioning_modifiers", []).append(modifier)


def late_wrapper(unet: Any) -> None:
    """Hands calls on as they are at first, and later another latent."""

    def shifting(apply_model: Any, call: Any) -> Any:
        x = call["input"] if call["timestep"][0] > 3 else call["input"] * 0.9
        return apply_model(x, call["timestep"], **call["c"]) + 0.2

    unet.model_options["model_function_wrapper"] = shifting


WRAPPERS = (wrapper, tiles, late_wrapper)
AGAIN = (perturbed, blurred, a_part_again, reference)
CHANGES = (cfg_function, post_cfg_function, *WRAPPERS, *AGAIN)
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


SEVERAL = ["a cat AND a dog :0.4 <lora:te:1> <lora:lin:1>", "a red dog AND a cat"]


@pytest.mark.parametrize(
    "settings", [{}, {"recenter": 0.4}, {"top_k": 1, "rescan": 3}, {"reuse": 2, "recenter": 0.4}]
)
@pytest.mark.parametrize("prompt", [PROMPT, SEVERAL, "a cat <lora:te:1> <lora:lin:1>"])
def test_asked_again_the_model_says_the_same(webui: SimpleNamespace, prompt: Any, settings: Any) -> None:
    """Every part of it: a difference that someone takes holds what that one has changed alone."""
    seen: list[tuple[torch.Tensor, ...]] = []

    def asking(unet: Any) -> None:
        def function(a: Any) -> Any:
            rest = (a["input"], a["sigma"], a["model_options"])
            both = evaluate(a["model"], a["cond"], a["uncond"], *rest)
            uncond, _ = evaluate(a["model"], a["uncond"], None, *rest)
            seen.append((a["cond_denoised"], both[0], a["uncond_denoised"], both[1], uncond))
            return a["denoised"]

        add_after_guidance(unet, function)

    p = webui.processing.StableDiffusionProcessingTxt2Img(
        prompt, scripts=[Other(asking), webui.script.LoRAtorio()], script_args=[settings]
    )
    webui.processing.process_images(p)
    assert seen and not any("failed" in text for text in p.comments)
    for cond, cond_again, uncond, uncond_again, uncond_alone in seen:
        assert close(cond_again, cond)
        assert close(uncond_again, uncond) and close(uncond_alone, uncond)


def test_a_text_of_its_own_is_answered_as_the_unconditional(webui: SimpleNamespace) -> None:
    """With the base's, where the unconditional is the base's."""
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def asking(unet: Any) -> None:
        def function(a: Any) -> Any:
            (part,) = a["cond"]
            text = part["model_conds"]["c_crossattn"]
            own = [{**part, "model_conds": {"c_crossattn": type(text)(text.cond.flip(1))}}]
            got, _ = evaluate(a["model"], own, None, a["input"], a["sigma"], a["model_options"])
            base, _ = evaluate(a["model"], own, None, a["input"], a["sigma"], {})
            seen.append((got, base))
            return a["denoised"]

        add_after_guidance(unet, function)

    p = webui.processing.StableDiffusionProcessingTxt2Img(
        "a cat <lora:te:1> <lora:lin:1>",
        scripts=[Other(asking), webui.script.LoRAtorio()],
        script_args=[{"recenter": 1.0}],
    )
    webui.processing.process_images(p)
    assert seen and all(close(got, base) for got, base in seen)


def test_what_others_evaluate_before_is_no_step(
    webui: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    original = Run.step

    def watched(run: Run, evaluation: Any) -> Any:
        steps.append(evaluation.index)
        return original(run, evaluation)

    monkeypatch.setattr(Run, "step", watched)
    p = webui.processing.StableDiffusionProcessingTxt2Img(
        PROMPT, scripts=[Other(reference), webui.script.LoRAtorio()], script_args=[{}]
    )
    webui.processing.process_images(p)
    assert steps == list(range(p.steps))


def test_a_wrapper_sees_what_was_composed(webui: SimpleNamespace) -> None:
    """It acts on the model's outcome, and the rows it sees are those that it would see without ours."""
    rows: list[int] = []
    wrapped: list[torch.Tensor] = []
    guided: list[torch.Tensor] = []

    def watching(unet: Any) -> None:
        def around(apply_model: Any, call: Any) -> Any:
            denoised = apply_model(call["input"], call["timestep"], **call["c"])
            rows.append(len(denoised))
            wrapped.append(denoised.chunk(2)[call["cond_or_uncond"].index(0)])
            return denoised

        unet.model_options["model_function_wrapper"] = around
        add_after_guidance(unet, lambda a: guided.append(a["cond_denoised"]) or a["denoised"])

    p = webui.processing.StableDiffusionProcessingTxt2Img(
        "a cat <lora:te:1> <lora:lin:1>",
        scripts=[Other(watching), webui.script.LoRAtorio()],
        script_args=[{"recenter": 0.4}],
    )
    webui.processing.process_images(p)
    assert set(rows) == {2}
    first, *composed = wrapped  # the first time the base is asked, to see what the wrapper does
    assert len(composed) == len(guided)
    assert all(torch.equal(*pair) for pair in zip(composed, guided, strict=True))
    assert not close(first, guided[0])


@pytest.mark.parametrize(
    "patch", [("patches_replace", {"attn1": {("middle", 0): len}}), ("block_modifiers", [len])]
)
def test_functions_that_look_across_rows_see_the_usual_ones(
    webui: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, patch: Any
) -> None:
    rows: list[int] = []
    model = webui.shared.sd_model.k_model
    original = model.apply_model

    def watched(x: Any, t: Any, **c: Any) -> Any:
        rows.append(len(x))
        return original(x, t, **c)

    monkeypatch.setattr(model, "apply_model", watched)

    def patched(unet: Any) -> None:
        unet.model_options.setdefault("transformer_options", {})[patch[0]] = patch[1]

    prompt = ["a cat <lora:te:1> <lora:lin:1>", "a red dog"]
    pictures = []
    for scripts in ([], [Other(patched)]):
        rows.clear()
        p = webui.processing.StableDiffusionProcessingTxt2Img(
            prompt, scripts=[*scripts, webui.script.LoRAtorio()], script_args=[{"recenter": 0.4}]
        )
        pictures.append(webui.processing.process_images(p))
        assert (max(rows) == 4) is bool(scripts)
    assert close(*pictures)


def test_a_function_that_evaluates_before_ours_does_not_take_the_answer(webui: SimpleNamespace) -> None:
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
            c = call["c"]  # changed, so that every network's rows come by
            return apply_model(
                call["input"],
                call["timestep"],
                **{**c, "transformer_options": {**c["transformer_options"], "mark": 1}},
            )

        unet.model_options["model_function_wrapper"] = wrapper

    pictures = []
    for scripts in ([Other(failing), webui.script.LoRAtorio()], [Other(patched)]):
        p = webui.processing.StableDiffusionProcessingTxt2Img(
            PROMPT, scripts=scripts, script_args=[{"recenter": 0.5}]
        )
        pictures.append(webui.processing.process_images(p))
    assert close(*pictures)
