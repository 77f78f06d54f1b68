"""Other extensions' model options, hints, masks and areas beside ours, and what Forge has to keep free."""

from __future__ import annotations

from typing import Any

import pytest
import torch

PROMPT = "a cat <lora:te:1>"
ALONE = {"recenter": 0.0}


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
    draw: Any, close: Any, both_orders: Any, change: Any, prompt: Any
) -> None:
    before, after, merged = both_orders(change, prompt)
    assert close(before, merged) and close(after, merged)
    assert not close(draw(prompt)[0], merged) or change is masks


@pytest.mark.parametrize("change", [*CHANGES, control])
def test_and_with_several_networks(close: Any, both_orders: Any, change: Any) -> None:
    prompt = ["a cat AND a dog :0.4 <lora:te:1> <lora:lin:1>", "a red dog AND a cat"]
    first, second, _ = both_orders(change, prompt, {"top_k": 1, "rescan": 3})
    assert close(first, second)


def test_the_cost_that_is_told_follows_the_conditions_that_act(draw: Any, beside: Any) -> None:
    """``areas`` has two conditions from the beginning and a third one at the later sigmas."""
    _, p = draw(PROMPT, ALONE, scripts=beside(areas))
    assert list(dict.fromkeys(p.progress)) == [
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


@pytest.mark.parametrize(("prompt", "said"), [("a cat <lora:te:1>", True), ("a cat <lora:lin:1>", False)])
def test_replaced_texts_are_said(draw: Any, close: Any, beside: Any, prompt: str, said: bool) -> None:
    other, ours = beside(other_texts)
    composed, p = draw(prompt, ALONE, scripts=[other, ours])
    assert any("replaced the prompt's conditions" in text for text in p.comments) is said
    merged, _ = draw(prompt, scripts=[other])
    assert close(composed, merged) is not said


@pytest.fixture
def announced(webui: Any, draw: Any) -> Any:
    """announced(prompt, settings, rows) → bytes to keep free for the networks; rows: of a call."""

    class Watching(webui.scripts.Script):  # type: ignore[name-defined, misc]
        def process_before_every_sampling(self, p: Any, *args: object, **kwargs: Any) -> None:
            asked.append(p.sd_model.forge_objects.unet.extra_preserved_memory_during_sampling)

    asked: list[int] = []

    def ask(prompt: str, settings: dict[str, Any], rows: int) -> int:
        asked.clear()
        draw(prompt, settings, scripts=[webui.new_script(), Watching()])
        required = webui.called.memory_required
        return asked[0] - max(int(required([rows, 4, 8, 8]) - required([2, 4, 8, 8])), 0)

    return ask


@pytest.mark.parametrize("kind", ["lin", "loha", "dora", "full"])
def test_the_networks_are_announced_whatever_their_kind(webui: Any, announced: Any, kind: str) -> None:
    """Low-rank ones with their parts, others as large as the layers' weights."""
    weights = sum(
        module.weight.numel()
        for name, module in webui.called.named_modules()
        if "attentions" in name and getattr(module, "weight", torch.ones(1)).dim() == 2
    )
    tensors = announced(f"a cat <lora:{kind}:1>", {}, rows=4)
    if kind == "lin":
        assert 0 < tensors < 4 * weights
    else:
        assert 4 * weights <= tensors < 4.5 * weights


@pytest.mark.parametrize(("rows", "kept", "at_once"), [(1, 0, 1), (2, 0, 2), (1, 1, 3), (4, 0, 3), (0, 0, 3)])
def test_networks_are_announced_as_far_as_they_lie_there(
    webui: Any, announced: Any, rows: int, kept: int, at_once: int
) -> None:
    """A call has no more of them than rows; of the others as many lie there as are kept between calls."""
    webui.opts.loratorio_network_memory = kept
    names = ("lin", "loha", "full")
    sizes = sorted(announced(f"a cat <lora:{name}:1>", {}, rows=4) for name in names)
    prompt = "a cat " + " ".join(f"<lora:{name}:1>" for name in names)
    assert announced(prompt, {"batch_rows": rows}, rows=rows or 8) == sum(sizes[-at_once:])


def packed(kind: str) -> Any:
    """A linear layer whose weight is stored as small numbers, as Forge's loaders keep them."""

    class Packed(torch.nn.Module):
        def __init__(self, linear: Any) -> None:
            super().__init__()
            steps = {"gguf": 100, "four bits": 10, "fp8": 16}[kind]
            numbers = (linear.weight.detach() * steps).round()
            stored = {"gguf": torch.int32, "four bits": torch.int8, "fp8": torch.float8_e4m3fn}[kind]
            self.weight = torch.nn.Parameter(numbers.to(stored), False)
            self.plain, self.bias = self.weight.float() / steps, linear.bias
            if kind == "gguf":
                self.weight.gguf_cls = object()
            elif kind == "four bits":
                self.weight.bnb_quantized = True
            else:
                self.scale_weight = torch.tensor(1 / steps)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(x, self.plain, self.bias)

    return Packed


def unpacked(layer: Any) -> Any:
    """A layer that computes the same from a plain weight."""
    linear = torch.nn.Linear(layer.weight.shape[1], layer.weight.shape[0], layer.bias is not None)
    linear.weight.data.copy_(layer.plain)
    if layer.bias is not None:
        linear.bias.data.copy_(layer.bias)
    return linear


@pytest.mark.parametrize("kind", ["gguf", "four bits", "fp8"])
def test_quantised_weights_are_read_and_left_alone(webui: Any, draw: Any, close: Any, kind: str) -> None:
    """DoRA and LoHa need the plain weight of a layer that stores whole numbers."""
    prompt = "a cat <lora:dora:1> <lora:loha:0.7>"
    webui.standin.replace_linears(webui.model, packed(kind))
    stored = [one.weight.clone() for one in webui.unet.modules() if hasattr(one, "plain")]
    picture, p = draw(prompt, {})
    left = [one.weight for one in webui.unet.modules() if hasattr(one, "plain")]
    assert stored and all(torch.equal(*pair) for pair in zip(stored, left, strict=True))
    webui.standin.replace_linears(webui.model, unpacked)
    wanted, _ = draw(prompt, {})
    assert close(picture, wanted) and p.comments == {}


@pytest.mark.parametrize("rows", [0, 1, 3, 5])
def test_hints_with_calls_of_any_size(close: Any, both_orders: Any, rows: int) -> None:
    """Calls that part an image's conditional from its unconditional row, with a hint for each image."""
    prompt = ["a cat <lora:te:1> <lora:lin:1>", "a red dog"]
    wanted, _, _ = both_orders(control, prompt, {"patch_size": 4})
    picture, _, _ = both_orders(control, prompt, {"patch_size": 4, "batch_rows": rows})
    assert close(picture, wanted)


def test_patches_of_others_survive_a_failure(webui: Any, draw: Any, close: Any, beside: Any) -> None:
    """An extension adds patches to the UNet; when composing fails, they act on beside the merged networks."""

    def patched(unet: Any) -> None:
        tensors = webui.backend("utils").load_torch_file(str(webui.folder / "locon.safetensors"))
        original = webui.model.forge_objects_original
        other, _ = webui.networks.load_lora_for_models(original.unet, original.clip, tensors, 0.5, 0.5)
        unet.lora_patches = {**unet.lora_patches, **other.lora_patches}

    def failing(unet: Any) -> None:
        patched(unet)

        def wrapper(apply_model: Any, call: Any) -> Any:
            if len(call["input"]) > 2:
                raise RuntimeError("no")
            c = call["c"]  # changed, so that every network's rows come by
            options = {**c["transformer_options"], "mark": 1}
            return apply_model(call["input"], call["timestep"], **{**c, "transformer_options": options})

        unet.model_options["model_function_wrapper"] = wrapper

    settings = {"recenter": 0.5}
    composed, _ = draw(PROMPT, settings, scripts=beside(failing))
    merged, _ = draw(PROMPT, settings, scripts=beside(patched)[:1])
    assert close(composed, merged)
