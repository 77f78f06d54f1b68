"""Pictures that begin with a picture: img2img and the hires pass, against diffusers' own pipelines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionXLImg2ImgPipeline
from PIL import Image
from torch import Tensor

from loratorio_ext.hosts.diffusers_host import DiffusersHost, Request, Result
from loratorio_ext.hosts.diffusers_host.generate import encode_picture
from loratorio_ext.hosts.diffusers_host.samplers import SAMPLERS
from loratorio_ext.settings import Settings
from tests.hosts_diffusers.pipelines import PIPELINES, write_networks

pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")

PROMPTS = ["a red cat", "blue dog, big"]
SEEDS = (5, 6)
# Two need packages of their own, and TCD is given another eta by diffusers' pipelines than its own.
NAMES = [name for name in SAMPLERS if name not in ("LMS", "DPM++ SDE", "TCD")]


def a_picture(width: int = 16, height: int = 16) -> Image.Image:
    rows = np.random.default_rng(4).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(rows)


def draw(pipeline: Any, prompts: list[str] | None = None, **more: Any) -> Result:
    options: dict[str, Any] = {"steps": 10, "cfg": 5.0, "height": 16, "width": 16, "seeds": SEEDS, **more}
    options.setdefault("negative_prompt", "ugly")
    return DiffusersHost(pipeline).generate(Request(prompts or PROMPTS, **options))


def theirs(pipeline: Any, start: Tensor, strength: float, steps: int) -> Tensor:
    """What diffusers makes of latents; its steps are those of `strength` without rounding up by one."""
    xl = pipeline.__class__.__name__.startswith("StableDiffusionXL")
    parts = dict(pipeline.components)
    kind = StableDiffusionXLImg2ImgPipeline if xl else StableDiffusionImg2ImgPipeline
    own = kind(**parts) if xl else kind(**parts, requires_safety_checker=False)
    own.set_progress_bar_config(disable=True)
    latents: Tensor = own(
        PROMPTS,
        image=start,
        strength=strength,
        num_inference_steps=steps,
        guidance_scale=5.0,
        negative_prompt=["ugly"] * 2,
        generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
        output_type="latent",
    ).images
    return latents


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_a_picture_to_start_from_is_diffusers_own_img2img(kind: str, name: str) -> None:
    import diffusers

    pipeline = PIPELINES[kind]()
    ours = draw(pipeline, image=a_picture(), denoising_strength=0.5, sampler=name)
    start = encode_picture(pipeline, a_picture(), (16, 16)).expand(2, -1, -1, -1)
    class_name, options = SAMPLERS[name]
    pipeline.scheduler = getattr(diffusers, class_name).from_config(pipeline.scheduler.config, **options)
    wanted = theirs(pipeline, start, 0.6, 10)
    torch.testing.assert_close(ours.latents, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    assert ours.hires_report is None


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_latents_of_a_picture_are_those_that_its_decoder_takes(kind: str) -> None:
    pipeline = PIPELINES[kind]()
    vae = pipeline.vae
    vae.register_to_config(latents_mean=[0.1, -0.2, 0.3, 0.0], latents_std=[1.5, 0.5, 2.0, 1.0])
    picture = a_picture(32, 20)
    found = encode_picture(pipeline, picture, (16, 16))
    middle = picture.crop((6, 0, 26, 20)).resize((16, 16), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(middle)).movedim(-1, 0)[None] / 127.5 - 1
    with torch.no_grad():
        own = vae.encode(pixels).latent_dist.mean
    back = found / vae.config.scaling_factor * torch.tensor([1.5, 0.5, 2.0, 1.0]).view(1, 4, 1, 1)
    back = back + torch.tensor([0.1, -0.2, 0.3, 0.0]).view(1, 4, 1, 1)
    torch.testing.assert_close(back, own, rtol=0, atol=0.05)


@pytest.mark.parametrize(("strength", "evaluations"), [(0.0, 1), (0.05, 1), (0.5, 6), (0.75, 8), (1.0, 10)])
def test_so_many_steps_are_drawn_as_a_webui_draws(strength: float, evaluations: int, sd: Any) -> None:
    """modules/sd_samplers_common.py, setup_img2img_steps: t_enc + 1."""
    told: list[tuple[int, int]] = []
    request = Request(["cat"], steps=10, image=a_picture(), denoising_strength=strength, width=16, height=16)
    result = DiffusersHost(sd).generate(request, lambda *at: told.append(at))
    assert told == [(one + 1, evaluations) for one in range(evaluations)]
    assert result.report.totals.steps == evaluations


@pytest.mark.parametrize("kind", ["sd_v", "sdxl"])
def test_the_hires_pass_draws_the_larger_latents_again(kind: str) -> None:
    pipeline = PIPELINES[kind]()
    first = draw(pipeline, sampler="Euler").latents
    told: list[tuple[int, int]] = []
    more: dict[str, Any] = {"hires_scale": 1.5, "hires_steps": 6, "denoising_strength": 0.6}
    more |= {"width": 16, "height": 16, "sampler": "Euler", "negative_prompt": "ugly"}
    request = Request(PROMPTS, seeds=SEEDS, steps=10, cfg=5.0, **more)
    ours = DiffusersHost(pipeline).generate(request, lambda *at: told.append(at))
    larger = F.interpolate(first, (12, 12), mode="bilinear")
    import diffusers

    pipeline.scheduler = diffusers.EulerDiscreteScheduler.from_config(pipeline.scheduler.config)
    wanted = theirs(pipeline, larger, 0.6, 10)
    torch.testing.assert_close(ours.latents, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    assert ours.images[0].size == (24, 24)
    assert told == [(one + 1, 16) for one in range(16)]


def test_a_hires_pass_begins_with_the_maps_of_the_first(sd: Any, tmp_path: Path) -> None:
    write_networks(sd, tmp_path, "ab")
    prompts = [f"{one} <lora:a:0.7> <lora:b:0.6>" for one in PROMPTS]
    more = {"network_dir": tmp_path, "hires_scale": 2.0, "denoising_strength": 0.7}
    looks = draw(sd, prompts, settings=Settings(looks=2), **more)
    assert [step.mode for step in looks.report.steps].count("composed") == 2
    assert looks.hires_report is not None
    assert {step.mode for step in looks.hires_report.steps} == {"placed"}
    assert len(looks.hires_report.steps) == 10
    every = draw(sd, prompts, settings=Settings(looks=0), **more)
    assert every.hires_report is not None
    assert {step.mode for step in every.hires_report.steps} == {"composed"}
    assert looks.latents.shape == (2, 4, 16, 16)
    merged = draw(sd, prompts, method="merge", **more)
    assert not torch.allclose(looks.latents, merged.latents)


def test_a_seed_gives_its_picture_at_every_place_of_every_batch(sd: Any, tmp_path: Path) -> None:
    write_networks(sd, tmp_path, "ab")
    prompts = ["cat <lora:a:0.7> <lora:b:0.6>"]
    for more in ({"image": a_picture()}, {"hires_scale": 1.5}):
        more |= {"network_dir": tmp_path, "sampler": "Euler a"}
        both = draw(sd, prompts * 2, **more).latents
        second = draw(sd, prompts, **{**more, "seeds": SEEDS[1:]}).latents
        torch.testing.assert_close(both[1:], second, rtol=1e-4, atol=1e-4 * float(second.abs().max()))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"denoising_strength": 1.5}, "denoising_strength is 1.5; it must be a number from 0 to 1"),
        ({"denoising_strength": True}, "denoising_strength is True"),
        ({"hires_scale": 0.5}, "hires_scale is 0.5; it must be a number from 1 (no second pass) to 8"),
        ({"hires_scale": float("nan")}, "hires_scale is nan"),
        ({"hires_steps": -1}, "hires_steps is -1; it must be a whole number from 0 to 1000"),
        ({"image": "a.png"}, "image is a str; it must be a picture of Pillow"),
        ({"image": a_picture(), "hires_scale": 2}, "There is a picture to start from and Hires. fix"),
        ({"hires_scale": 2, "denoising_strength": 0}, "are the last of more than 1000"),
        ({"hires_scale": 2, "hires_steps": 500, "denoising_strength": 0.4}, "are the last of more than 1000"),
        ({"hires_scale": 8, "width": 2048}, "16384 × 128 pixels; a side must be at most 8192"),
    ],
)
def test_what_cannot_be_is_said_before_any_work(changes: dict[str, Any], said: str, sd: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        draw(sd, **changes)
