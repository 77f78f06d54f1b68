"""Weights that Forge Neo patches at every call, or loads anew while a picture is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

WHOLE = {"recenter": 0.0, "looks": 0}


@pytest.fixture
def webui_name() -> str:
    return "forge_neo"


def test_names_with_two_underscores_are_read_as_neo_reads_them(webui: Any, as_merged: Any) -> None:
    """networks.py, load_networks."""
    tensors = load_file(webui.folder / "dora.safetensors")
    renamed = {name.replace("lora_diffusion_model_", "lora_unet__"): one for name, one in tensors.items()}
    assert renamed.keys() != tensors.keys()
    save_file(renamed, webui.folder / "odd.safetensors")
    webui.networks.list_available_networks()
    merged, _ = as_merged("a cat <lora:dora:1>")
    odd, _ = as_merged("a cat <lora:odd:1>")
    assert torch.equal(odd, merged)


class LowVram(nn.Module):
    """A linear layer whose weight is patched at every call (backend/operations.py, ForgeWeights)."""

    def __init__(self, linear: Any) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.weight_function: Sequence[Any] = []
        self.applied = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.weight
        for function in self.weight_function:
            weight = function(weight.detach().clone())
            self.applied += 1
        return nn.functional.linear(x, weight, self.bias)


@pytest.fixture
def low_vram(webui: Any, monkeypatch: pytest.MonkeyPatch) -> list[LowVram]:
    """The model's linear layers, none of which has room for merged weights (backend/patcher/base.py)."""
    base = webui.backend("patcher.base")
    webui.standin.replace_linears(webui.model, LowVram)
    layers = [one for one in webui.called.modules() if isinstance(one, LowVram)]
    merge = base.ModelPatcher.partially_load

    def partially_load(self: Any, *arguments: Any, **named: Any) -> int:
        if self.model is not webui.called or self.model.current_weight_patches_uuid == self.patches_uuid:
            return int(merge(self, *arguments, **named))
        every = self.patches
        for name, module in self.model.named_modules():
            if isinstance(module, LowVram):
                key = f"{name}.weight"
                module.weight_function = [base.LowVramPatch(key, every)] if key in every else []
        at_every_call = {f"{name}.weight" for name, one in self.model.named_modules() if one in layers}
        self.patches = {name: one for name, one in every.items() if name not in at_every_call}
        merge(self, *arguments, **named)
        self.patches = every
        return 0

    monkeypatch.setattr(base.ModelPatcher, "partially_load", partially_load)
    return layers


@pytest.mark.parametrize("looks", [0, 2])
@pytest.mark.parametrize("kept", ["lin", "loha", "full"])
def test_patches_of_every_call_stay_and_are_composed_beside(
    draw: Any, close: Any, low_vram: list[LowVram], kept: str, looks: int
) -> None:
    tags = f"<lora:te:1> <lora:{kept}:0.7:compose=off>"
    merged, _ = draw(f"a cat {tags}")
    before = sum(one.applied for one in low_vram)
    picture, p = draw(f"a cat {tags}", {"recenter": 0.0, "looks": looks})
    assert before and sum(one.applied for one in low_vram) > before
    assert p.comments == {} and close(picture, merged)
    after, _ = draw(f"a cat {tags}")
    assert torch.equal(after, merged)


@pytest.mark.parametrize("tags", ["<lora:dora:1>", "<lora:loha:1>", "<lora:te:1>"])
def test_a_refiner_whose_weights_are_loaded_into_the_same_unet(
    webui: Any, draw: Any, close: Any, tags: str
) -> None:
    """With ``refiner_fast_sd`` (apply_refiner): what a DoRA adds is that of the weights that are there."""
    weights = {name: one.clone() for name, one in webui.unet.state_dict().items()}

    def load(params: Any, scale: float = 1.3) -> None:
        if params.denoiser.step == 2:
            webui.model.forge_objects.unet.unpatch_model()
            webui.unet.load_state_dict({name: scale * one for name, one in weights.items()})
            webui.model.current_lora_hash = "[]"
            webui.extra_networks.activate(params.denoiser.p, params.denoiser.p.extra_network_data)
            webui.backend("memory_management").load_model_gpu(webui.model.forge_objects.unet)
            webui.model.current_lora_hash = "[]"

    def drawn(settings: Any) -> tuple[torch.Tensor, Any]:
        webui.model.forge_objects_original.unet.unpatch_model()
        webui.unet.load_state_dict(weights)
        webui.model.current_lora_hash = "[]"
        return draw(f"a cat {tags}", settings)  # type: ignore[no-any-return]

    alone, _ = drawn(None)
    webui.before_call(load)
    merged, _ = drawn(None)
    picture, p = drawn(WHOLE)
    assert not close(merged, alone)
    assert p.comments == {} and close(picture, merged)
