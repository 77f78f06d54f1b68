"""What comes out of the stand-in with LoRAtorio, against what its own merging gives."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

ALONE = {"recenter": 0.0}
KINDS = ("lin", "te", "locon", "cp", "loha", "ia3", "full", "norm", "dora")


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.allclose(a, b, rtol=1e-3, atol=2e-4))


@pytest.mark.parametrize("timesteps", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_one_network_alone_is_the_webui_s_own_picture(draw: Any, kind: str, timesteps: bool) -> None:
    prompt = f"a cat <lora:{kind}:0.8>"
    merged, _ = draw(prompt, timesteps=timesteps)
    composed, p = draw(prompt, ALONE, timesteps=timesteps)
    plain, _ = draw("a cat", timesteps=timesteps)
    assert close(composed, merged)
    assert not close(plain, merged)
    assert p.comments == {}
    assert p.extra_generation_params == {"LoRAtorio enabled": "True", "LoRAtorio recenter": "0.0"}


@pytest.mark.parametrize(
    "tag", ["te:0.5:1.5", "te:te=0:unet=1", "te:1:0", "lin:-0.7", "lin:1:1:1", "te:0:0.4"]
)
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
    "no guidance": {"prompts": "a cat <lora:te:1>", "cfg_scale": 1.0},
    "NGMS": {"prompts": "a cat <lora:te:1>", "s_min_uncond": 5.0},
    "hires": {"prompts": "a cat <lora:te:1>", "hr_prompts": ["a dog <lora:lin:1>"]},
    "hires the same": {"prompts": "a cat <lora:te:1>", "hr_prompts": ["a cat <lora:te:1>"]},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "one at a time": {"batch_cond_uncond": False},
    "padded": {"pad_cond_uncond": True},
    "padded as of old": {"pad_cond_uncond_v0": True},
    "skip early": {"skip_early_cond": 0.4},
    "no cache": {"persistent_cond_cache": False},
}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("case", CASES)
def test_rows_and_conditions_are_laid_out_as_the_webui_s(
    webui: SimpleNamespace, draw: Any, case: str, options: str
) -> None:
    vars(webui.shared.opts).update(OPTIONS[options])
    fields = dict(CASES[case])
    prompts = fields.pop("prompts")
    merged, _ = draw(prompts, **fields)
    composed, p = draw(prompts, ALONE, **fields)
    assert close(composed, merged)
    assert p.comments == {}


def test_dict_conditions_of_sdxl(webui: SimpleNamespace, draw: Any) -> None:
    apply_weights = webui.networks.network_apply_weights
    webui.shared.sd_model = webui.model_class("xl", 0, apply_weights, xl=True)
    prompt = "a cat AND a dog in a long sentence of more than eight words <lora:te:1>"
    merged, _ = draw(prompt)
    composed, p = draw(prompt, ALONE)
    assert close(composed, merged) and p.comments == {}


def test_a_copy_beside_a_network_changes_nothing(draw: Any) -> None:
    alone, _ = draw("a cat <lora:lin:1>", {**ALONE, "gain": 0})
    twice, _ = draw("a cat <lora:lin:1> <lora:twin:1>", {**ALONE, "gain": 0})
    assert close(alone, twice)


def test_several_networks(draw: Any) -> None:
    prompt = "a cat <lora:lin:1> <lora:te:1> <lora:locon:1>"
    merged, _ = draw(prompt)
    composed, p = draw(prompt, {"temperature": 0.05})
    again, _ = draw(prompt, {"temperature": 0.05})
    turned, _ = draw("a cat <lora:locon:1> <lora:te:1> <lora:lin:1>", {"temperature": 0.05})
    alone = [draw(f"a cat <lora:{name}:1>")[0] for name in ("lin", "te", "locon")]
    assert torch.equal(composed, again) and close(composed, turned)
    assert not any(close(composed, other) for other in (merged, *alone))
    assert p.comments == {}


def test_pictures_of_a_batch_are_the_single_ones(draw: Any) -> None:
    tags = "<lora:lin:1> <lora:te:1>"
    batch, _ = draw([f"a cat {tags}", f"a dog {tags}"], {"top_k": 1})
    second, _ = draw(f"a dog {tags}", {"top_k": 1})
    assert not close(batch[:1], second)
    # The batch's second picture has noise of its own, so only the first can be compared.
    first, _ = draw(f"a cat {tags}", {"top_k": 1})
    assert close(batch[:1], first)


def test_outside_the_window_networks_act_merged(draw: Any) -> None:
    prompt = "a cat <lora:lin:1> <lora:te:1>"
    merged, _ = draw(prompt)
    outside, _ = draw(prompt, {"start": 1.0})
    partly, _ = draw(prompt, {"end": 0.5})
    assert close(outside, merged) and not close(partly, merged)


def test_a_kept_network_stays_merged(draw: Any) -> None:
    kept, _ = draw("a cat <lora:te:1>")
    composed, _ = draw("a cat <lora:te:1:compose=off> <lora:lin:0>", ALONE)
    assert close(composed, kept)


def test_the_pool_takes_part(draw: Any) -> None:
    named, _ = draw("a cat <lora:te:1> <lora:lin2:1>", ALONE)
    pooled, p = draw("a cat <lora:te:1>", {**ALONE, "pool": "te, sub/*"})
    assert close(named, pooled) and p.comments == {}
    _, p = draw("a cat <lora:te:1>", {"pool": "nothing/*, broken"})
    assert sorted(text.split("; ")[0][:48] for text in p.comments) == [
        "LoRAtorio: 'nothing/*' in the pool is no network",
        "LoRAtorio: network 'broken' of the pool cannot b",
    ]
