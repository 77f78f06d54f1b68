"""Networks placed in one model call, by looks and by maps from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from loratorio_ext.hosts.diffusers_host import DiffusersHost, Request, Result
from loratorio_ext.settings import Settings
from tests.hosts_diffusers.pipelines import PIPELINES, write_networks

BOTH = "a red cat <lora:a:1> <lora:b:0.7>"
OTHER_SHAPES = ((3, 8, 12), (8, 12), (3, 2, 8, 12), (2, 8, 12, 1, 1))
EVERY_STEP = Settings(looks=0, recenter=0.0)


@pytest.fixture(params=["sd", "sd_v", "sdxl"])
def host(request: Any, tmp_path: Path) -> DiffusersHost:
    pipeline = PIPELINES[request.param]()
    write_networks(pipeline, tmp_path, "ab")
    return DiffusersHost(pipeline)


def draw(host: DiffusersHost, folder: Path, prompt: str = BOTH, **more: Any) -> Result:
    options: dict[str, Any] = {"steps": 6, "cfg": 5.0, "height": 16, "width": 24, "network_dir": folder}
    return host.generate(Request(prompt, **{"seeds": (3, 4), **options, **more}))


def apart(a: Result, b: Result) -> float:
    return float((a.latents - b.latents).abs().max() / b.latents.abs().max())


@pytest.mark.parametrize("prompt", ["a cat <lora:a:1>", "a cat <lora:a:-0.6> <lora:b:1:compose=off>"])
def test_one_network_is_placed_everywhere_as_if_merged(
    host: DiffusersHost, tmp_path: Path, prompt: str
) -> None:
    merged = draw(host, tmp_path, prompt, method="merge")
    placed = draw(host, tmp_path, prompt, settings=Settings(recenter=0.0))
    assert apart(placed, merged) < 1e-4
    assert {step.mode for step in placed.report.steps} == {"placed"} and placed.report.totals.ratio == 1
    assert apart(draw(host, tmp_path, "a cat", method="base"), merged) > 1e-2


def test_maps_of_1_merge_and_maps_of_0_are_the_base(host: DiffusersHost, tmp_path: Path) -> None:
    merged, base = draw(host, tmp_path, method="merge"), draw(host, tmp_path, method="base")
    ones = draw(host, tmp_path, maps=torch.ones(2, 8, 12), settings=EVERY_STEP)
    assert apart(ones, merged) < 1e-4
    assert {step.mode for step in ones.report.steps} == {"placed"}
    zeros = draw(host, tmp_path, "a red cat <lora:a:0:1> <lora:b:0:0.7>", maps=torch.zeros(2, 8, 12))
    assert apart(zeros, base) < 1e-5  # not to the bit: the base's rows stand in another order
    silent = draw(host, tmp_path, "a red cat <lora:a:0:0> <lora:b:0:0>", maps=torch.ones(2, 8, 12))
    assert torch.equal(zeros.latents, silent.latents)


def test_looks_come_first_and_a_batch_holds_the_single_pictures(host: DiffusersHost, tmp_path: Path) -> None:
    settings = Settings(looks=2, recenter=0.5)
    both = draw(host, tmp_path, settings=settings)
    assert [step.mode for step in both.report.steps] == ["composed", "placed", "composed", *["placed"] * 3]
    assert [step.rows for step in both.report.steps] == [12, 4, 12, 4, 4, 4]
    second = draw(host, tmp_path, settings=settings, seeds=(4,))
    torch.testing.assert_close(both.latents[1:], second.latents, rtol=1e-3, atol=1e-4)
    every = draw(host, tmp_path, settings=Settings(looks=0, recenter=0.5))
    assert apart(both, every) > 1e-4
    plain = draw(host, tmp_path, "a red cat")
    assert torch.equal(plain.latents, draw(host, tmp_path, "a red cat").latents)


@pytest.mark.parametrize(
    ("shape", "value", "words"),
    [*((shape, 1.0, "maps has shape") for shape in OTHER_SHAPES), ((2, 8, 12), torch.nan, "finite")],
)
def test_other_maps_are_refused(
    host: DiffusersHost, tmp_path: Path, shape: tuple[int, ...], value: float, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        draw(host, tmp_path, maps=torch.full(shape, value))


@pytest.mark.parametrize("settings", [Settings(), EVERY_STEP])
def test_tags_say_where_and_when_a_network_acts(
    host: DiffusersHost, tmp_path: Path, settings: Settings
) -> None:
    alone = draw(host, tmp_path, "a red cat <lora:b:0.7>", settings=settings)
    silent = draw(host, tmp_path, "a red cat <lora:a:1:steps=0-0> <lora:b:0.7>", settings=settings)
    assert apart(silent, alone) < 1e-4
    both = draw(host, tmp_path, settings=settings)
    left = draw(host, tmp_path, "a red cat <lora:a:1:at=left> <lora:b:0.7>", settings=settings)
    assert apart(left, alone) > 1e-3 and apart(left, both) > 1e-3
    assert not any(step.maps[0, :, :, -1].any() for step in left.report.steps)
    everywhere = draw(host, tmp_path, "a red cat <lora:a:1:at=0-1,0-1> <lora:b:0.7>", settings=settings)
    assert torch.equal(everywhere.latents, both.latents)


@pytest.mark.parametrize("settings", [Settings(), Settings(looks=0, recenter=0.5)])
def test_a_network_acts_on_one_side_of_the_guidance_alone(
    host: DiffusersHost, tmp_path: Path, settings: Settings
) -> None:
    """Against merged pictures of one step: their guidance is u + w · (c − u), and c that of w = 1."""
    w = 5.0

    def one_step(tags: str, scale: float = w, **more: Any) -> torch.Tensor:
        one = {"cfg": scale, "steps": 1, "sampler": "DDIM", "negative_prompt": "a dog"}
        return draw(host, tmp_path, f"a red cat {tags}", **one, **more).latents

    def difference(tags: str) -> torch.Tensor:
        """(1 − w) · u"""
        return one_step(tags, method="merge") - w * one_step(tags, 1.0, method="merge")

    for others in ("", "<lora:b:0.7> "):
        without = one_step(others, settings=settings)
        found = one_step(f"{others}<lora:a:1:cond=0>", settings=settings)
        if settings.recenter == 1 or not others:  # otherwise the others act in the unconditional too
            expected = without + difference("<lora:a:1>") - difference("")
            torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)
        assert (found - without).abs().max() > 1e-3
    result = draw(host, tmp_path, "a red cat <lora:a:1:cond=0>", cfg=1.0)
    # Its texts are encoded beside the base's, which may round differently.
    assert apart(result, draw(host, tmp_path, "a red cat", cfg=1.0)) < 1e-5
    assert any("no unconditional prediction for network 'a'" in one for one in result.report.warnings)


@pytest.mark.parametrize("settings", [Settings(recenter=0.0), EVERY_STEP])
def test_a_kept_network_keeps_to_its_steps(host: DiffusersHost, tmp_path: Path, settings: Settings) -> None:
    alone = draw(host, tmp_path, "a red cat <lora:a:0:1:steps=0.3-0.8:fade=1-0.5>", settings=settings)
    kept = draw(
        host, tmp_path, "a red cat <lora:a:0:1:compose=off:steps=0.3-0.8:fade=1-0.5>", settings=settings
    )
    assert apart(kept, alone) < 1e-4
    assert apart(kept, draw(host, tmp_path, "a red cat <lora:a:0:1:compose=off>", settings=settings)) > 1e-3


@pytest.mark.parametrize("recenter", [1.0, 0.5])
def test_a_network_outside_of_its_steps_leaves_no_text(
    host: DiffusersHost, tmp_path: Path, recenter: float
) -> None:
    settings = Settings(looks=2, recenter=recenter)
    alone = draw(host, tmp_path, "a red cat <lora:a:1>", settings=settings)
    never = draw(host, tmp_path, "a red cat <lora:a:1> <lora:b:1:steps=0.95-1>", settings=settings)
    assert apart(never, alone) < 1e-5
