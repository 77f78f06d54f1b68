"""What reForge does otherwise than its relatives: an option evaluates, and functions look at the result."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch

EVALUATION = "sampler_calc_cond_batch_function"
PROMPT = "a cat <lora:te:1>"
ALONE = {"recenter": 0.0}


@pytest.fixture
def webui_name() -> str:
    return "reforge"


def scripts(webui: Any, change: Any) -> list[Any]:
    """One that changes the UNet's options before every sampling, and ours."""

    class Other(webui.scripts.Script):  # type: ignore[name-defined, misc]
        def process_before_every_sampling(self, p: Any, *args: object, **kwargs: Any) -> None:
            unet = p.sd_model.forge_objects.unet.clone()
            change(unet)
            p.sd_model.forge_objects.unet = unet

    return [Other(), webui.new_script()]


def evaluating(samplers: Any) -> Any:
    """As ComfyUI's skip layer guidance: both sides in calls of their own, one of them changed."""

    def function(asked: Any) -> Any:
        (cond, uncond), rest = asked["conds"], [asked[one] for one in ("input", "sigma", "model_options")]
        first, _ = samplers.calc_cond_batch(asked["model"], [cond, None], *rest)
        _, second = samplers.calc_cond_batch(asked["model"], [None, uncond], *rest)
        return [first * 1.1, second]

    return lambda unet: unet.model_options.__setitem__(EVALUATION, function)


def late(unet: Any) -> None:
    """A pre-CFG function, which sees what was predicted."""
    unet.model_options["sampler_pre_cfg_function"] = [lambda a: [a["conds_out"][0] * 0.9, a["conds_out"][1]]]


@pytest.mark.parametrize("kind", ["late", "evaluating"])
@pytest.mark.parametrize("looks", [0, 1])
def test_functions_of_others_act_on_what_was_composed(
    webui: Any, draw: Any, close: Any, kind: str, looks: int
) -> None:
    change = late if kind == "late" else evaluating(sys.modules["ldm_patched.modules.samplers"])
    other, ours = scripts(webui, change)
    merged, _ = draw(PROMPT, scripts=[other])
    for order in ([other, ours], [ours, other]):
        picture, p = draw(PROMPT, {**ALONE, "looks": looks}, scripts=order)
        assert close(picture, merged) and p.comments == {}
    assert not close(merged, draw(PROMPT)[0])


def test_nothing_of_ours_stays_in_the_options(webui: Any, draw: Any) -> None:
    before = webui.standin.options_of_patchers(webui.model)
    draw(PROMPT, {})
    assert webui.standin.options_of_patchers(webui.model) == before


@pytest.mark.parametrize(("te", "unet"), [(0, 1), (1, 0), (0, 0)])
def test_a_part_with_a_strength_of_0_is_not_even_read(
    draw: Any, as_merged: Any, te: float, unet: float
) -> None:
    """So the patches of the networks behind it are found where they are."""
    as_merged(f"a cat <lora:te:{te}:{unet}:compose=off> <lora:lin:0.8>")
    as_merged(f"a cat <lora:lin:{te}:{unet}>")  # nor is it said that it fits nothing


def test_a_compiled_model_is_foretold(webui: Any, draw: Any) -> None:
    merged, _ = draw(PROMPT)
    webui.unet._orig_mod = True
    assert "switch torch.compile off" in webui.server.obstacle()
    picture, p = draw(PROMPT, {})
    assert any("the model is compiled" in comment for comment in p.comments)
    assert torch.equal(picture, merged)
