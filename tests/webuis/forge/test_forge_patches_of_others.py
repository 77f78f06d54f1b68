"""Extensions that load clones of their own, or change what a network's patches are."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
import torch

from tests.webuis.forge.changes import ALONE, on_conditions


def head(unet: Any) -> dict[str, Any]:
    """A patch of the model's first layer, as of an inpainting head."""
    name = "diffusion_model.conv_in.weight"
    weight = dict(unet.model.named_parameters())[name]
    return {name: ("diff", (torch.full_like(weight, 0.05),))}


def own_clones(webui: Any, until: float) -> Any:
    """As Forge's Fooocus inpaint: one clone with a patch for sigmas above ``until``, and one without it."""
    memory = webui.backend("memory_management")

    def change(unet: Any) -> None:
        without = unet.clone()
        named = {} if webui.name == "reforge" else {"filename": "head"}
        unet.add_patches(patches=head(unet), **named)

        @on_conditions
        def modifier(model: Any, x: Any, t: Any, *others: Any) -> Any:
            target = unet if float(t[0]) > until else without
            if all(one.model is not target for one in memory.current_loaded_models):
                memory.load_models_gpu([target])
            return target.model, x, t, *others

        modifier(unet)

    return change


@pytest.mark.parametrize("until", [0.0, 4.0, 9.0])
@pytest.mark.parametrize("prompt", ["a cat <lora:te:1>", "a cat <lora:lin:1> <lora:te:0.5:compose=off>"])
def test_a_clone_that_comes_in_with_all_networks_does_not_act_twice(
    webui: Any, both_orders: Any, draw: Any, close: Any, prompt: str, until: float
) -> None:
    plain, _ = draw("a cat", None)
    merged_before, _ = draw(prompt, None, scripts=[])
    before, after, merged = both_orders(own_clones(webui, until), prompt)
    assert close(before, merged) and close(after, merged)
    assert close(merged, merged_before) is (until == 9.0)
    assert torch.equal(draw("a cat", None)[0], plain)
    assert torch.equal(draw(prompt, None, scripts=[])[0], merged_before)


def blocks(webui: Any, files: dict[str, list[float]]) -> Any:
    """As LoRA Block Weight: strengths of their own for a network's patches, and another key."""

    class Blocks(webui.scripts.Script):  # type: ignore[name-defined, misc]
        def after_extra_networks_activate(self, p: Any, *args: object, **kwargs: Any) -> None:
            objects = webui.model.forge_objects_after_applying_lora
            if webui.name != "forge":  # which does not say whose patches are whose: of one network alone
                (shares,) = files.values()
                for patcher in (objects.unet, objects.clip.patcher):
                    for place, (layer, entries) in enumerate(patcher.patches.items()):
                        share = shares[place % len(shares)]
                        patcher.patches[layer] = [(one[0] * share, *one[1:]) for one in entries]
                    patcher.patches_uuid = uuid.uuid4()
                return
            for table in (objects.unet.lora_patches, objects.clip.patcher.lora_patches):
                for key in list(table):
                    name = key[0].rsplit("/", 1)[-1].removesuffix(".safetensors")
                    if name not in files or isinstance(key[1], str):
                        continue
                    patches = table.pop(key)
                    for place, (layer, found) in enumerate(patches.items()):
                        share = files[name][place % len(files[name])]
                        patches[layer] = [[one[0] * share, *one[1:]] for one in found]
                    table[(key[0], f"{key[1]},{files[name]}", *key[2:])] = patches

    return Blocks()


def with_blocks(webui: Any, draw: Any, prompt: str, scripts: list[Any], settings: Any) -> Any:
    webui.model.current_lora_hash = "[]"  # so that patches are as in the files again
    latents, p = draw(prompt, settings, scripts=scripts)
    webui.model.current_lora_hash = "[]"
    assert p.comments == {}
    return latents


@pytest.mark.parametrize("kind", ["lin", "te", "locon", "loha", "dora", "norm", "full"])
@pytest.mark.parametrize("share", [[0.0, 1.0, 0.5, -0.3], [2.0]])
def test_blocks_with_strengths_of_their_own(
    webui: Any, draw: Any, close: Any, kind: str, share: list[float]
) -> None:
    prompt = f"a cat <lora:{kind}:0.8>"
    other, ours = blocks(webui, {kind: share}), webui.new_script()
    merged = with_blocks(webui, draw, prompt, [other], None)
    assert close(with_blocks(webui, draw, prompt, [other, ours], ALONE), merged)
    assert close(with_blocks(webui, draw, prompt, [ours, other], ALONE), merged)
    assert not close(merged, draw(prompt, None, scripts=[])[0])


def test_blocks_of_one_network_among_several(webui: Any, draw: Any, close: Any) -> None:
    if webui.name != "forge":
        pytest.skip("no extension can tell patches apart there")
    prompt = "a cat <lora:te:1> <lora:lin:0.7> <lora:loha:1:compose=off>"
    shares = {"te": [0.2, 1.0], "loha": [1.0, 0.0]}
    other, ours = blocks(webui, shares), webui.new_script()
    first = with_blocks(webui, draw, prompt, [other, ours], {})
    assert close(with_blocks(webui, draw, prompt, [ours, other], {}), first)
    assert not close(with_blocks(webui, draw, prompt, [ours], {}), first)
    # Encoded prompts are kept; those with other blocks are other ones.
    others = with_blocks(webui, draw, prompt, [blocks(webui, {"te": [1.0, 0.2]}), ours], {})
    assert not close(others, first)
    assert close(with_blocks(webui, draw, prompt, [other, ours], {}), first)


class Adapter:
    """As Forge's T2IAdapter: features of the first call it is asked in are kept."""

    previous_controlnet: Any = None

    def __init__(self, keeps: bool) -> None:
        self.keeps = keeps
        self.control_input: Any = None

    def get_control(self, x: torch.Tensor, t: torch.Tensor, c: Any, chunks: int, *_: Any) -> torch.Tensor:
        if self.control_input is None or not self.keeps:
            rows = len(x) // chunks
            hints = torch.tensor([1.0, -2.0]).view(2, 1, 1, 1)
            self.control_input = hints.repeat(-(-rows // 2), 1, 1, 1)[:rows].repeat(chunks, 1, 1, 1)
        # A UNet of Forge takes no control of a wrong number of rows, and says so in the log alone.
        fits = len(self.control_input) == len(x)
        control: torch.Tensor = self.control_input.clone() if fits else torch.zeros(len(x), 1, 1, 1)
        return control


class Before:
    """A ControlNet in front of an adapter; it adds nothing."""

    def __init__(self, adapter: Adapter) -> None:
        self.previous_controlnet = adapter

    def get_control(self, *call: Any) -> torch.Tensor:
        control: torch.Tensor = self.previous_controlnet.get_control(*call)
        return control


@pytest.mark.parametrize("chained", [False, True])
@pytest.mark.parametrize("settings", [ALONE, {"recenter": 1.0}, {"recenter": 0.5}, {"batch_rows": 4}])
@pytest.mark.parametrize("tags", ["<lora:te:1>", "<lora:te:1> <lora:lin:1> <lora:loha:1>"])
def test_an_adapter_that_keeps_features_acts_in_every_call(
    draw: Any, close: Any, both_orders: Any, tags: str, settings: Any, chained: bool
) -> None:
    def adapted(keeps: bool) -> Any:
        def change(unet: Any) -> None:
            adapter = Adapter(keeps)
            unet.controlnet_linked_list = Before(adapter) if chained else adapter

        return change

    batch = [f"a cat {tags}", "a red dog"]
    before, after, merged = both_orders(adapted(True), batch, settings)
    wanted, _, merged_wanted = both_orders(adapted(False), batch, settings)
    assert close(before, wanted) and close(after, wanted) and close(merged, merged_wanted)
    assert not close(draw(batch, settings)[0], wanted)


@pytest.mark.parametrize("tag", ["<lora:lin:0,8>", "<lora:lin:much>", "<lora:lin:1:unet=x>"])
def test_a_strength_that_is_no_number_is_said(draw: Any, tag: str) -> None:
    """Forge then takes no network at all."""
    latents, p = draw(f"a cat {tag}", {})
    assert torch.equal(latents, draw("a cat", None)[0])
    assert any("lin" in text or "no network" in text for text in p.comments), p.comments
