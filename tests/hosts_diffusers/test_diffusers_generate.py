"""Pictures of the diffusers host against the pictures of diffusers' own pipelines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from loratorio_ext.hosts.diffusers_host import DiffusersHost, Request, Result
from loratorio_ext.hosts.diffusers_host.samplers import SAMPLERS
from loratorio_ext.settings import Settings
from tests.hosts_diffusers.pipelines import PIPELINES, plain_scheduler, write_network, write_networks

pytestmark = pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")

PROMPTS = ["a red cat", "blue dog, big"]
SEEDS = (5, 6)


def own_picture(pipeline: Any, prompts: list[str], seeds: tuple[int, ...], **more: Any) -> Any:
    options = {"num_inference_steps": 4, "guidance_scale": 5.0, "height": 16, "width": 16}
    options |= {"output_type": "latent", **more}
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    return pipeline(prompts, generator=generators, **options).images


def draw(host: DiffusersHost, prompts: list[str], seeds: tuple[int, ...] = SEEDS, **more: Any) -> Result:
    options: dict[str, Any] = {"steps": 4, "cfg": 5.0, "height": 16, "width": 16, **more}
    return host.generate(Request(prompts, seeds=seeds, **options))


@pytest.mark.parametrize("cfg", [5.0, 1.0])
@pytest.mark.parametrize("kind", ["sd", "sd_v", "sdxl"])
def test_without_networks_it_is_the_pipelines_own_picture(kind: str, cfg: float) -> None:
    pipeline = PIPELINES[kind]()
    guided = {"guidance_scale": cfg, "negative_prompt": ["ugly"] * 2}
    theirs = own_picture(pipeline, PROMPTS, SEEDS, **guided)
    ours = draw(DiffusersHost(pipeline), PROMPTS, cfg=cfg, negative_prompt="ugly")
    torch.testing.assert_close(ours.latents, theirs, rtol=1e-5, atol=1e-5)
    pictures = own_picture(pipeline, PROMPTS, SEEDS, output_type="pil", **guided)
    for our_image, their_image in zip(ours.images, pictures, strict=True):
        apart = np.asarray(our_image).astype(int) - np.asarray(their_image).astype(int)
        assert np.abs(apart).max() <= 1
    assert ours.report.totals.ratio == 1


@pytest.mark.parametrize(
    ("name", "class_name", "options"),
    [
        ("Euler", "EulerDiscreteScheduler", {}),
        ("Euler a", "EulerAncestralDiscreteScheduler", {}),
        ("Heun", "HeunDiscreteScheduler", {}),
        ("DPM2", "KDPM2DiscreteScheduler", {}),
        ("DPM++ 2M Karras", "DPMSolverMultistepScheduler", {"use_karras_sigmas": True}),
        ("PLMS", "PNDMScheduler", {"skip_prk_steps": True}),
        ("UniPC", "UniPCMultistepScheduler", {}),
        ("DDPM", "DDPMScheduler", {}),
        ("LCM", "LCMScheduler", {}),
    ],
)
def test_every_kind_of_scheduler(name: str, class_name: str, options: dict[str, Any]) -> None:
    import diffusers

    pipeline = PIPELINES["sd_v"]()
    ours = draw(DiffusersHost(pipeline), PROMPTS, sampler=name)
    pipeline.scheduler = getattr(diffusers, class_name).from_config(pipeline.scheduler.config, **options)
    theirs = own_picture(pipeline, PROMPTS, SEEDS, negative_prompt=[""] * 2)
    # Ancestral noise and second-order steps make rounding larger, not different.
    torch.testing.assert_close(ours.latents, theirs, rtol=1e-4, atol=1e-4 * float(theirs.abs().max()))
    assert ours.report.finished
    assert ours.report.totals.steps == len(pipeline.scheduler.timesteps)


def test_a_scheduler_that_is_handed_over_is_used_and_stays_as_it_was(sd: Any) -> None:
    from diffusers import EulerDiscreteScheduler

    scheduler = EulerDiscreteScheduler.from_config(sd.scheduler.config)
    host = DiffusersHost(sd)
    before = dict(vars(scheduler))
    ours = draw(host, PROMPTS, sampler=scheduler)
    assert torch.equal(ours.latents, draw(host, PROMPTS, sampler="Euler").latents)
    assert torch.equal(ours.latents, draw(host, PROMPTS, sampler=type(scheduler)).latents)
    assert vars(scheduler).keys() == before.keys()
    assert scheduler.step_index is None
    assert sd.scheduler.num_inference_steps is None


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_one_merged_network_is_diffusers_own_lora(kind: str, tmp_path: Path) -> None:
    pipeline = PIPELINES[kind]()
    path = write_network(pipeline, tmp_path / "ink.safetensors", seed=7)
    prompts = [f"{prompt} <lora:ink:0.8>" for prompt in PROMPTS]
    more = {"negative_prompt": "ugly", "network_dir": tmp_path}
    ours = draw(DiffusersHost(pipeline), prompts, method="merge", **more)
    plain = draw(DiffusersHost(pipeline), PROMPTS, negative_prompt="ugly")
    alone = draw(DiffusersHost(pipeline), prompts, settings=Settings(recenter=0.0), **more)
    pipeline.load_lora_weights(str(path), adapter_name="ink")
    pipeline.set_adapters(["ink"], adapter_weights=[0.8])
    theirs = own_picture(pipeline, PROMPTS, SEEDS, negative_prompt=["ugly"] * 2)
    size = float(theirs.abs().max())
    assert (plain.latents - theirs).abs().max() > 1e-2 * size, "the network should change the picture"
    torch.testing.assert_close(ours.latents, theirs, rtol=1e-4, atol=1e-5 * size)
    # One network at λ = 0 is that network applied the usual way (method, first fact).
    torch.testing.assert_close(alone.latents, theirs, rtol=1e-4, atol=1e-5 * size)
    assert not ours.report.warnings


def merged_pictures(pipeline: Any, folder: Path) -> Callable[[str], Tensor]:
    """Tags → latents of a picture with these networks merged."""
    host, more = DiffusersHost(pipeline), {"method": "merge", "network_dir": folder}
    return lambda tags: draw(host, [f"cat {tags}"], (1,), **more).latents


def test_strengths_of_the_two_parts_are_apart(sd: Any, tmp_path: Path) -> None:
    write_network(sd, tmp_path / "both.safetensors", seed=1)
    write_network(sd, tmp_path / "text.safetensors", seed=1, unet=False)
    write_network(sd, tmp_path / "unet.safetensors", seed=1, text=False)
    picture = merged_pictures(sd, tmp_path)
    torch.testing.assert_close(picture("<lora:both:0.5:0>"), picture("<lora:text:0.5>"))
    torch.testing.assert_close(picture("<lora:both:0:0.5>"), picture("<lora:unet:0.5>"))
    torch.testing.assert_close(picture("<lora:both:0>"), picture(""))


def test_dyn_keeps_the_first_ranks(sd: Any, tmp_path: Path) -> None:
    whole = load_file(write_network(sd, tmp_path / "whole.safetensors", seed=1))
    first = {key: value[:1] if key.endswith("lora_down.weight") else value for key, value in whole.items()}
    first |= {key: value[:, :1] for key, value in whole.items() if key.endswith("lora_up.weight")}
    # The scale stays alpha / 2, that of the whole network.
    first = {key: value / 2 if key.endswith("alpha") else value.contiguous() for key, value in first.items()}
    save_file(first, tmp_path / "first.safetensors")
    picture = merged_pictures(sd, tmp_path)
    torch.testing.assert_close(picture("<lora:whole:1:dyn=1>"), picture("<lora:first:1>"))
    torch.testing.assert_close(picture("<lora:whole:1:dyn=2>"), picture("<lora:whole:1>"))
    assert not torch.allclose(picture("<lora:whole:1:dyn=1>"), picture("<lora:whole:1>"))


def test_a_seed_gives_its_picture_at_every_place_of_every_batch(sdxl: Any, tmp_path: Path) -> None:
    write_networks(sdxl, tmp_path, "ab")
    host = DiffusersHost(sdxl)
    tags = "<lora:a:0.7> <lora:b:0.6>"
    more = {"network_dir": tmp_path, "sampler": "Euler a", "settings": Settings(top_k=1, rescan=2)}
    three = draw(host, [f"cat {tags}", "dog", "cat"], (3, 4, 5), **more).latents
    other_way = draw(host, [f"cat {tags}", "dog", "cat"], (5, 4, 3), **more).latents
    alone = [
        draw(host, [f"{prompt} {tags}"], (seed,), **more).latents
        for prompt, seed in (("cat", 3), ("dog", 4), ("cat", 5))
    ]
    size = float(three.abs().max())
    torch.testing.assert_close(three, torch.cat(alone), rtol=1e-4, atol=1e-5 * size)
    torch.testing.assert_close(other_way, three.flip(0), rtol=1e-4, atol=1e-5 * size)


@pytest.mark.parametrize("name", list(SAMPLERS))
def test_noise_of_a_sampler_belongs_to_the_picture(name: str, sd_v: Any) -> None:
    for sampler, package in (("LMS", "scipy"), ("DPM++ SDE", "torchsde")):
        if name == sampler:
            pytest.importorskip(package)
    host = DiffusersHost(sd_v)
    both = draw(host, ["cat", "dog"], (3, 4), sampler=name).latents
    second = draw(host, ["dog"], (4,), sampler=name).latents
    torch.testing.assert_close(both[1:], second, rtol=1e-4, atol=1e-4 * float(second.abs().max()))


def test_kept_networks_act_in_every_row(sd: Any, tmp_path: Path) -> None:
    write_network(sd, tmp_path / "fast.safetensors", seed=1)
    host = DiffusersHost(sd)
    kept = draw(host, ["cat <lora:fast:0.5:compose=off>"], (1,), method="base", network_dir=tmp_path)
    merged = draw(host, ["cat <lora:fast:0.5>"], (1,), method="merge", network_dir=tmp_path)
    torch.testing.assert_close(kept.latents, merged.latents)
    assert kept.report.composed == ()


@pytest.mark.parametrize("method", ["base", "merge", "switch", "composite", "loratorio"])
def test_rows_of_every_method_and_size(method: Any, sd: Any, tmp_path: Path) -> None:
    write_networks(sd, tmp_path, "abc")
    prompts = ["cat <lora:a> <lora:b> <lora:c:compose=off>", "dog"]
    host = DiffusersHost(sd)
    for cfg, halves in ((5.0, 2), (1.0, 1)):
        more = {"switch_every": 1, "settings": Settings(looks=0, recenter=0.5), "network_dir": tmp_path}
        result = draw(host, prompts, method=method, cfg=cfg, **more)
        sources = {"base": 1, "merge": 1, "switch": 1, "composite": 2, "loratorio": 3}[method]
        assert {step.rows for step in result.report.steps} == {2 * halves * sources}
        assert result.report.totals.steps == 4
    wide = draw(host, prompts, method=method, width=32, height=24, network_dir=tmp_path)
    assert wide.latents.shape == (2, 4, 12, 16)
    assert wide.images[0].size == (32, 24)


@pytest.mark.parametrize("compare", ["noise", "denoised"])
def test_zero_terminal_snr_gives_no_nan(compare: Any, sd_v: Any, tmp_path: Path) -> None:
    write_networks(sd_v, tmp_path, "ab")
    scheduler = plain_scheduler("v_prediction", rescale_betas_zero_snr=True, timestep_spacing="trailing")
    more = {"sampler": scheduler, "settings": Settings(compare=compare), "network_dir": tmp_path}
    result = draw(DiffusersHost(sd_v), ["cat <lora:a> <lora:b>"], (1,), **more)
    assert torch.isfinite(result.latents).all()
    assert not result.report.warnings
    result.report.to_json()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype: torch.dtype, sdxl: Any, tmp_path: Path) -> None:
    write_network(sdxl, tmp_path / "a.safetensors", seed=1)
    prompts = ["cat <lora:a:0.5>"]
    full = draw(DiffusersHost(sdxl), prompts, (1,), network_dir=tmp_path).latents
    sdxl.to(dtype)
    sdxl.vae.register_to_config(force_upcast=True)
    result = draw(DiffusersHost(sdxl), prompts, (1,), network_dir=tmp_path)
    assert result.latents.dtype == sdxl.vae.dtype == dtype
    # The noise itself is drawn in the half precision, so only the size of the picture can be compared.
    assert torch.isfinite(result.latents).all()
    assert result.latents.float().std() == pytest.approx(float(full.std()), rel=0.5)
