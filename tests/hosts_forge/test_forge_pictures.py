"""What comes out of the stand-in for Forge with LoRAtorio, against what its own merging gives."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

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
    assert set(p.comments) <= {"LoRAtorio: there is no network to compose"}


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


def test_a_copy_beside_a_network_changes_nothing(draw: Any) -> None:
    alone, _ = draw("a cat <lora:lin:1>", ALONE)
    twice, _ = draw("a cat <lora:lin:1> <lora:twin:1>", ALONE)
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
