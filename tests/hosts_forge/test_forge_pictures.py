"""What comes out of the stand-in for Forge with LoRAtorio, against what its own merging gives."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

ALONE = {"recenter": 0.0}
KINDS = ("lin", "te", "locon", "cp", "loha", "full", "norm", "dora", "sliced", "set")


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.allclose(a, b, rtol=1e-3, atol=2e-4))


@pytest.mark.parametrize("kind", KINDS)
def test_one_network_alone_is_forge_s_own_picture(draw: Any, kind: str) -> None:
    prompt = f"a cat <lora:{kind}:0.8>"
    merged, _ = draw(prompt)
    composed, p = draw(prompt, ALONE)
    plain, _ = draw("a cat")
    assert close(composed, merged)
    assert not close(plain, merged)
    assert p.comments == {}
    assert p.extra_generation_params == {"LoRAtorio enabled": "True", "LoRAtorio recenter": "0.0"}


@pytest.mark.parametrize("tag", ["te:0.5:1.5", "te:te=0:unet=1", "te:1:0", "lin:-0.7", "te:0:0.4"])
def test_strengths_of_a_tag(draw: Any, tag: str) -> None:
    merged, _ = draw(f"a cat <lora:{tag}>")
    composed, _ = draw(f"a cat <lora:{tag}>", ALONE)
    assert close(composed, merged)


CASES: dict[str, dict[str, Any]] = {
    "AND": {"prompts": "a cat AND a red dog :0.6 <lora:te:1>"},
    "editing": {"prompts": "a [cat:dog:1] sits <lora:te:1>"},
    "long": {"prompts": "a cat with a very long list of words after it <lora:te:1>"},
    "batch": {"prompts": ["a cat <lora:te:1>", "a dog in a longer sentence of nine words <lora:te:1>"]},
    "negative": {"prompts": "a cat <lora:te:1>", "negative": "one two three four five six seven eight nine"},
    "no guidance": {"prompts": "a cat <lora:te:1>", "cfg_scale": 1},
    "NGMS": {"prompts": "a cat <lora:te:1>", "s_min_uncond": 5.0},
    "hires": {"prompts": "a cat <lora:te:1>", "hr_prompts": ["a dog <lora:lin:1>"]},
    "hires the same": {"prompts": "a cat <lora:te:1>", "hr_prompts": ["a cat <lora:te:1>"]},
    "hires without guidance": {"prompts": "a cat <lora:te:1>", "hr_prompts": ["a cat"], "hr_cfg": 1},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "skip early": {"skip_early_cond": 0.4},
    "no cache": {"persistent_cond_cache": False},
}


@pytest.mark.parametrize("kind", ["sd", "sdxl", "flux"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("case", CASES)
def test_rows_and_conditions_are_laid_out_as_forge_s(
    webui: SimpleNamespace, draw: Any, case: str, options: str, kind: str
) -> None:
    webui.shared.sd_model = webui.engine_class("first", 0, kind)
    vars(webui.shared.opts).update(OPTIONS[options])
    fields = dict(CASES[case])
    prompts = fields.pop("prompts")
    merged, _ = draw(prompts, **fields)
    composed, p = draw(prompts, ALONE, **fields)
    assert close(composed, merged)
    assert set(p.comments) <= {"LoRAtorio: there is no network to compose in the hires pass"}


@pytest.mark.parametrize("recenter", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_calls_of_any_size_give_the_same_picture(
    webui: SimpleNamespace, draw: Any, recenter: float, rows: int
) -> None:
    prompts = ["a cat <lora:te:1> <lora:lin:1>", "a dog"]
    wanted, _ = draw(prompts, {"recenter": recenter})
    picture, _ = draw(prompts, {"recenter": recenter, "batch_rows": rows})
    assert close(picture, wanted)
    webui.memory_management.free[0] = webui.shared.sd_model.k_model.memory_required([2, 4, 8, 8]) * 1.01
    calls = webui.shared.sd_model.k_model.calls
    calls.clear()
    picture, _ = draw(prompts, {"recenter": recenter, "batch_rows": rows})
    assert close(picture, wanted)
    assert max(calls) <= 2


def predictions(webui: SimpleNamespace, prompt: str, settings: Any = None) -> Any:
    """(x, cond, uncond) of the first evaluation, as functions after the guidance see them."""
    seen: list[Any] = []

    class Watching:
        def process_before_every_sampling(self, p: Any, *args: object, **kwargs: Any) -> None:
            unet = p.sd_model.forge_objects.unet.clone()

            def look(a: Any) -> Any:
                seen.append([a[name].clone() for name in ("input", "cond_denoised", "uncond_denoised")])
                return a["denoised"]

            unet.model_options.setdefault("sampler_post_cfg_function", []).append(look)
            p.sd_model.forge_objects.unet = unet

        def __getattr__(self, name: str) -> Any:
            return lambda *args, **kwargs: None

    scripts = [Watching()] if settings is None else [Watching(), webui.script.LoRAtorio()]
    p = webui.processing.StableDiffusionProcessingTxt2Img(prompt, scripts=scripts, script_args=[settings])
    webui.processing.process_images(p)
    return seen[0]


def test_every_and_sub_prompt_is_composed_by_itself(webui: SimpleNamespace) -> None:
    """Against the method's function on predictions that Forge itself made with merged networks."""
    from loratorio_ext.method import RowMap, compose

    settings = {"patch_size": 2, "temperature": 0.5, "recenter": 0.25, "weighting": "relative", "gain": 0.2}
    weights, texts, names = (1.0, -0.6), ("a cat", "a red dog"), ("lin", "te")
    x, cond, uncond = predictions(webui, "a cat AND a red dog :-0.6 <lora:lin:1> <lora:te:1>", settings)
    plain = [predictions(webui, text) for text in texts]
    merged = [[predictions(webui, f"{text} <lora:{name}:1>") for text in texts] for name in names]
    wanted = compose(
        torch.cat([one[1] for one in plain]),
        torch.stack([torch.cat([one[1] for one in network]) for network in merged]),
        plain[0][2],
        torch.stack([network[0][2] for network in merged]),
        top_k=0,
        top_k_scope="image",
        compare_as=lambda denoised: x - denoised,
        rows=RowMap((0, 0), weights),
        **settings,  # type: ignore[arg-type]
    )
    mean = (weights[0] * wanted.cond[:1] + weights[1] * wanted.cond[1:]) / sum(weights)
    assert close(cond, mean) and wanted.uncond is not None and close(uncond, wanted.uncond)


def test_sub_prompts_count_as_rows(webui: SimpleNamespace, draw: Any) -> None:
    prompt = "a cat AND a dog :0.5 AND a red house :0.3 <lora:te:1> <lora:lin:1>"
    wanted, _ = draw(prompt, {"recenter": 0.5})
    model, texts = webui.shared.sd_model.k_model, []
    original = model.apply_model

    def watching(*arguments: Any, **c: Any) -> Any:
        texts.append(webui.shared.state.textinfo)
        return original(*arguments, **c)

    model.apply_model = watching
    model.calls.clear()
    picture, p = draw(prompt, {"recenter": 0.5, "batch_rows": 1})
    assert close(picture, wanted) and p.comments == {}
    assert model.calls == [1] * 12 * 4
    assert set(texts) == {"LoRAtorio: 12 predictions at this step instead of 4"}


def test_layers_in_four_bits_are_composed(webui: SimpleNamespace, draw: Any) -> None:
    """As bitsandbytes and Forge keep them: no width in the layer, the weight a column of packed bytes."""

    class FourBits(torch.nn.Module):
        def __init__(self, linear: Any) -> None:
            super().__init__()
            self.plain, self.bias = linear.weight.detach(), linear.bias
            self.weight = torch.nn.Parameter(
                torch.zeros(linear.weight.numel() // 2, 1, dtype=torch.uint8), False
            )
            self.weight.quant_state = SimpleNamespace(shape=linear.weight.shape)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.linear(x, self.plain, self.bias)

    prompt = "a cat <lora:lin:1> <lora:sliced:0.7>"
    wanted, _ = draw(prompt, {})
    model = webui.shared.sd_model.k_model
    linear = webui.operations.ForgeOperations.Linear
    for name, module in list(model.named_modules()):
        if isinstance(module, linear):
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, FourBits(module))
    picture, p = draw(prompt, {})
    assert close(picture, wanted) and p.comments == {}


def test_a_network_that_an_option_adds_is_composed(webui: SimpleNamespace, draw: Any) -> None:
    both, _ = draw("a cat <lora:te:0.5> <lora:lin:1>", {})
    alone, _ = draw("a cat <lora:lin:1>", {})
    webui.shared.opts.sd_lora = "lin"
    added, p = draw("a cat <lora:te:0.5>", {})
    assert close(added, both) and p.comments == {}
    added, p = draw("a cat", {})
    assert close(added, alone) and p.comments == {}


def test_a_pool_s_file_that_has_changed_is_read_anew(webui: SimpleNamespace, draw: Any) -> None:
    file = webui.folder / "twin.safetensors"
    tensors = load_file(webui.folder / "te.safetensors")
    save_file({name: -one if "alpha" in name else one for name, one in tensors.items()}, file)
    draw("a cat", {"pool": "twin"})
    file.write_bytes((webui.folder / "te.safetensors").read_bytes())
    os.utime(file, (1, 1))
    changed, _ = draw("a cat", {"pool": "twin", **ALONE})
    assert close(changed, draw("a cat <lora:te:1>")[0])


def test_a_copy_beside_a_network_changes_nothing(draw: Any) -> None:
    alone, _ = draw("a cat <lora:lin:1>", {**ALONE, "gain": 0})
    twice, _ = draw("a cat <lora:lin:1> <lora:twin:1>", {**ALONE, "gain": 0})
    assert close(alone, twice)


def test_several_networks(draw: Any) -> None:
    prompt = "a cat <lora:lin:1> <lora:te:1> <lora:locon:1>"
    settings = {"temperature": 0.05}
    merged, _ = draw(prompt)
    composed, p = draw(prompt, settings)
    again, _ = draw(prompt, settings)
    turned, _ = draw("a cat <lora:locon:1> <lora:te:1> <lora:lin:1>", settings)
    alone = [draw(f"a cat <lora:{name}:1>")[0] for name in ("lin", "te", "locon")]
    assert torch.equal(composed, again) and close(composed, turned)
    assert not any(close(composed, other) for other in (merged, *alone))
    assert p.comments == {}


def test_pictures_of_a_batch_are_the_single_ones(draw: Any) -> None:
    tags = "<lora:lin:1> <lora:te:1>"
    settings = {"top_k": 1, "rescan": 2}
    batch, _ = draw([f"a cat {tags}", f"a dog {tags}"], settings)
    first, _ = draw(f"a cat {tags}", settings)
    assert close(batch[:1], first)


def test_outside_the_window_networks_act_merged(webui: SimpleNamespace, draw: Any) -> None:
    prompt = "a cat <lora:lin:1> <lora:te:1>"
    merged, _ = draw(prompt)
    calls = webui.shared.sd_model.k_model.calls
    calls.clear()
    outside, _ = draw(prompt, {"start": 1.0})
    assert close(outside, merged)
    assert calls == [2] * 4


def test_kept_networks_act_everywhere(draw: Any) -> None:
    kept, _ = draw("a cat <lora:te:1:compose=off> <lora:lin:0>", ALONE)
    assert close(kept, draw("a cat <lora:te:1>")[0])


def test_a_pool_is_as_if_it_were_in_the_prompt(webui: SimpleNamespace, draw: Any) -> None:
    tagged, _ = draw("a cat <lora:lin:1> <lora:lin2:1> <lora:te:1>", {})
    pooled, p = draw("a cat <lora:lin:1>", {"pool": r"SUB\*, te, lin"})
    assert close(tagged, pooled) and p.comments == {}
    read = len(webui.utils.read_files)
    draw("a cat <lora:lin:1>", {"pool": r"sub/*, te"})
    assert len(webui.utils.read_files) == read
    alone, _ = draw("a cat", {"pool": "te", **ALONE})
    assert close(alone, draw("a cat <lora:te:1>")[0])
