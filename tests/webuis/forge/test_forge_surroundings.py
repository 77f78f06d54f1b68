"""Costs that are told, replaced texts, what Forge has to keep free, weights stored in a way of its own."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.webuis.forge.changes import ALONE, PROMPT, areas, control, other_texts, wrapping


def test_the_cost_that_is_told_follows_the_conditions_that_act(draw: Any, beside: Any) -> None:
    """``areas`` has two conditions from the beginning and a third one at the later sigmas."""
    _, p = draw(PROMPT, ALONE, scripts=beside(areas))
    assert list(dict.fromkeys(p.progress)) == [
        "LoRAtorio: 6 predictions at this step instead of 3",
        "LoRAtorio: 8 predictions at this step instead of 4",
    ]


@pytest.mark.parametrize(("prompt", "said"), [("a cat <lora:te:1>", True), ("a cat <lora:lin:1>", False)])
def test_replaced_texts_are_said(draw: Any, close: Any, beside: Any, prompt: str, said: bool) -> None:
    other, ours = beside(other_texts)
    composed, p = draw(prompt, ALONE, scripts=[other, ours])
    assert any("replaced the prompt's conditions" in text for text in p.comments) is said
    merged, _ = draw(prompt, scripts=[other])
    assert close(composed, merged) is not said


@pytest.fixture
def announced(webui: Any, draw: Any, beside: Any) -> Any:
    """announced(prompt, settings, rows) → bytes to keep free for the networks; rows: of a call."""

    asked: list[int] = []
    watching, ours = beside(lambda unet: asked.append(unet.extra_preserved_memory_during_sampling))

    def ask(prompt: str, settings: dict[str, Any], rows: int) -> int:
        asked.clear()
        draw(prompt, settings, scripts=[ours, watching])
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


def test_packed_weights_are_announced_as_large_as_unpacked_ones(
    webui: Any, announced: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In 4 bits a weight is a column of half as many bytes, and the layer does not tell its widths."""

    class FourBits(torch.nn.Module):
        def __init__(self, linear: Any) -> None:
            super().__init__()
            plain, self.bias = linear.weight.detach(), linear.bias
            self.weight = torch.nn.Parameter(torch.zeros(plain.numel() // 2, 1, dtype=torch.uint8), False)
            self.weight.bnb_quantized = True
            self.weight.quant_state = plain  # all that is read of it is its shape

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(x, self.weight.quant_state, self.bias)

    four_bits = webui.backend("operations_bnb")
    monkeypatch.setattr(four_bits, "functional_dequantize_4bit", lambda weight: weight.quant_state)
    prompt = "a cat <lora:loha:1>"
    wanted = announced(prompt, {}, rows=4)
    webui.standin.replace_linears(webui.model, FourBits)
    assert announced(prompt, {}, rows=4) == wanted


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
            steps = {"gguf": 100, "four bits": 10}.get(kind, 16)
            numbers = (linear.weight.detach() * steps).round()
            stored = {"gguf": torch.int32, "four bits": torch.int8}.get(kind, torch.float8_e4m3fn)
            self.weight = torch.nn.Parameter(numbers.to(stored), False)
            self.plain, self.bias = self.weight.float() / steps, linear.bias
            if kind == "gguf":
                self.weight.gguf_cls = object()
            elif kind == "four bits":
                self.weight.bnb_quantized = True
            elif kind == "fp8":
                self.scale_weight = torch.tensor(1 / steps)
            else:  # operations_mixed_precision.py of Forge Neo, ops.py of reForge
                self.convert_weight = lambda weight, **more: weight.float() / steps

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


@pytest.mark.parametrize(
    ("webui_name", "kind"),
    [(name, kind) for name in ("forge", "forge_neo") for kind in ("gguf", "four bits", "fp8")]
    + [("forge_neo", "converted"), ("reforge", "converted")],
    indirect=["webui_name"],
)
def test_quantised_weights_are_read_and_left_alone(webui: Any, draw: Any, close: Any, kind: str) -> None:
    """DoRA and LoHa need the plain weight of a layer that stores whole numbers."""
    prompt = "a cat <lora:dora:1> <lora:loha:0.7>"
    layer = packed(kind)
    webui.standin.replace_linears(webui.model, layer)
    stored = [one.weight.clone() for one in webui.unet.modules() if hasattr(one, "plain")]
    picture, p = draw(prompt, {})
    left = [one.weight for one in webui.unet.modules() if hasattr(one, "plain")]
    assert stored and all(torch.equal(*pair) for pair in zip(stored, left, strict=True))
    webui.standin.replace_linears(webui.model, unpacked, layer)
    assert not any(hasattr(one, "plain") for one in webui.unet.modules())
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
        if webui.name == "forge":
            unet.lora_patches = {**unet.lora_patches, **other.lora_patches}
            return
        for name, entries in other.patches.items():
            unet.patches[name] = [*unet.patches.get(name, ()), *entries]
        unet.patches_uuid = other.patches_uuid

    @wrapping
    def marked(apply_model: Any, call: Any) -> Any:
        if len(call["input"]) > 2:
            raise RuntimeError("no")
        c = call["c"]  # changed, so that every network's rows come by
        options = {**c["transformer_options"], "mark": 1}
        return apply_model(call["input"], call["timestep"], **{**c, "transformer_options": options})

    def failing(unet: Any) -> None:
        patched(unet)
        marked(unet)

    settings = {"recenter": 0.5}
    composed, _ = draw(PROMPT, settings, scripts=beside(failing))
    merged, _ = draw(PROMPT, settings, scripts=beside(patched)[:1])
    assert close(composed, merged)
