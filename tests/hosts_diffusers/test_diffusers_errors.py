"""Wrong requests fail before any work; a cancelled generation leaves nothing behind; files are read once."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from torch import nn

from loratorio_ext.hosts.diffusers_host import DiffusersHost, Request
from loratorio_ext.hosts.diffusers_host.networks import NetworkCache
from loratorio_ext.hosts.diffusers_host.pipeline import components
from loratorio_ext.hosts.diffusers_host.request import parse_request
from loratorio_ext.hosts.diffusers_host.samplers import make_scheduler
from loratorio_ext.networks.files import NetworkFolder, key_map
from loratorio_ext.networks.prompt import Tag
from loratorio_ext.settings import Settings
from tests.hosts_diffusers.pipelines import small, write_network, write_networks

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_forward_hooks_with_kwargs")


class Reached(Exception):
    """The model was asked."""


@pytest.fixture
def untouchable(sd: Any) -> Iterator[DiffusersHost]:
    """A host whose model must not be asked."""

    def refuse(module: nn.Module, given: Any) -> None:
        raise Reached

    handles = [part.register_forward_pre_hook(refuse) for part in (sd.unet, sd.text_encoder, sd.vae)]
    yield DiffusersHost(sd)
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"prompts": []}, ["prompts", "at least one"]),
        ({"prompts": [3]}, ["prompts"]),
        ({"prompts": ["a", "b"]}, ["2 prompts", "1 seeds"]),
        ({"negative_prompt": None}, ["negative_prompt"]),
        ({"seeds": []}, ["seeds"]),
        ({"seeds": 3}, ["seeds is 3", "such as [3]"]),
        ({"seeds": [-1]}, ["-1", "0"]),
        ({"seeds": [2**63]}, [str(2**63)]),
        ({"seeds": [True]}, ["True"]),
        ({"seeds": [1.5]}, ["1.5"]),
        ({"steps": 0}, ["steps", "0", "1000"]),
        ({"steps": 10**9}, ["steps", "1000"]),
        ({"cfg": 0.5}, ["cfg", "0.5", "1"]),
        ({"cfg": float("nan")}, ["cfg", "nan"]),
        ({"cfg": float("inf")}, ["cfg", "inf"]),
        ({"cfg": "7"}, ["cfg", "'7'"]),
        ({"width": 17}, ["width", "17", "multiple of 2", "16", "18"]),
        ({"height": 0}, ["height", "0"]),
        ({"height": 10**6}, ["height", "8192"]),
        ({"sampler": "Eular a"}, ["Eular a", "Did you mean 'Euler a'"]),
        ({"sampler": "LCM Karras"}, ["LCM Karras", "use_karras_sigmas"]),
        ({"sampler": object()}, ["object", "Euler"]),
        ({"method": "loratorios"}, ["loratorios", "composite"]),
        ({"switch_every": 0}, ["switch_every"]),
        ({"settings": {"top_k": 2}}, ["settings", "dict"]),
        ({"prompts": ["a <lora:ink>"]}, ["ink", "network_dir"]),
        ({"prompts": ["a <lora:ink>"], "network_dir": "no/such/folder"}, ["no/such/folder"]),
    ],
)
def test_a_wrong_request_says_what_is_wrong_before_any_work(
    wrong: dict[str, Any], words: list[str], untouchable: DiffusersHost
) -> None:
    request = Request(**{"prompts": ["a cat"], "seeds": [1], "width": 16, "height": 16, "steps": 2, **wrong})
    with pytest.raises(ValueError) as caught:
        untouchable.generate(request)
    assert all(word in str(caught.value) for word in words), str(caught.value)


@pytest.mark.parametrize(("name", "package"), [("LMS", "scipy"), ("DPM++ SDE", "torchsde")])
def test_a_sampler_that_needs_another_package(name: str, package: str, untouchable: DiffusersHost) -> None:
    if importlib.util.find_spec(package) is not None:
        pytest.skip(f"{package} is installed")
    with pytest.raises(ValueError, match=package):
        untouchable.generate(small(["cat"], sampler=name))


def test_misspelt_networks_and_those_of_another_model_are_refused(
    untouchable: DiffusersHost, sdxl: Any, tmp_path: Path
) -> None:
    write_network(untouchable.pipeline, tmp_path / "watercolour.safetensors", seed=1)
    write_network(sdxl, tmp_path / "xl.safetensors", seed=1, text=False)
    for name, words in (("watercolor", "watercolour"), ("xl", r"xl\.safetensors")):
        with pytest.raises(ValueError, match=words):
            untouchable.generate(small([f"a <lora:{name}>"], network_dir=tmp_path))


def snapshot(pipeline: Any) -> dict[str, Any]:
    return {
        f"{name}.{path}:{table}": dict(getattr(module, table))
        for name, component in components(pipeline).items()
        for path, module in component.named_modules()
        for table in HOOKS
    }


@pytest.mark.parametrize("where", ["on_step", "unet", "text_encoder", "vae"])
def test_an_interrupt_leaves_nothing_behind(where: str, sd: Any, tmp_path: Path) -> None:
    write_networks(sd, tmp_path, "ab")
    host = DiffusersHost(sd)
    plain = small(["cat"], seeds=[1])
    composed = small(["cat <lora:a> <lora:b>"], seeds=[1], network_dir=tmp_path)
    before = host.generate(plain).latents
    weights = {name: value.clone() for name, value in sd.unet.state_dict().items()}
    hooks = snapshot(sd)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    if where == "on_step":
        with pytest.raises(KeyboardInterrupt):
            host.generate(composed, on_step=interrupt)
    else:
        inside = {"unet": "conv_out", "text_encoder": "final_layer_norm", "vae": "decoder"}
        part = getattr(getattr(sd, where), inside[where])
        handle = part.register_forward_pre_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            host.generate(composed)
        handle.remove()
    assert snapshot(sd) == hooks
    assert all(torch.equal(value, weights[name]) for name, value in sd.unet.state_dict().items())
    assert torch.equal(host.generate(plain).latents, before)
    assert torch.isfinite(host.generate(composed).latents).all()


def test_progress_counts_evaluations(sd: Any) -> None:
    seen: list[tuple[int, int]] = []
    request = small(["cat"], seeds=[1], steps=3, sampler="Heun")
    DiffusersHost(sd).generate(request, on_step=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 5) for done in range(1, 6)]


@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
@pytest.mark.parametrize(
    ("own", "asked", "said"),
    [
        ("DDIM", None, "DDIM"),
        ("DPM++ 2M Karras", None, "DPM++ 2M Karras"),
        ("DPM++ 2M SDE", None, "DPM++ 2M SDE"),
        ("DDIM", "Euler a", "Euler a"),
        ("DDIM", DDIMScheduler(steps_offset=7), "DDIMScheduler"),
    ],
)
def test_the_result_names_its_sampler_so_that_it_can_be_asked_for(
    own: str, asked: Any, said: str, sd: Any
) -> None:
    sd.scheduler = make_scheduler(own, sd.scheduler)
    host = DiffusersHost(sd)

    def draw(sampler: Any) -> Any:
        return host.generate(small(["cat"], cfg=1.0, sampler=sampler))

    drawn = draw(asked)
    assert drawn.sampler == said
    if asked is None:
        assert host.samplers[0] == said and torch.equal(draw(said).latents, drawn.latents)


def test_the_first_prompts_tags_count_and_others_are_said(sd: Any, tmp_path: Path) -> None:
    write_networks(sd, tmp_path, "ab")
    prompts = ["cat <lora:a>", "cat <lora:a>", "cat", "cat <lora:b>", "cat <lora:a:0.5>"]
    request = small(prompts, "ugly <lora:b>", seeds=list(range(5)), steps=1, network_dir=tmp_path)
    report = DiffusersHost(sd).generate(request).report
    assert report.composed == ("a",)
    assert any("prompt 4, 5 differ" in warning for warning in report.warnings)
    assert any("negative prompt" in warning for warning in report.warnings)


def test_two_names_of_one_file_are_one_network_at_the_last_tags_strength(sd: Any, tmp_path: Path) -> None:
    write_network(sd, tmp_path / "star.safetensors", seed=1)
    host = DiffusersHost(sd)

    def draw(prompt: str) -> Any:
        settings = Settings(pool="star")  # of which the tag is no second one
        return host.generate(small([prompt], network_dir=tmp_path, settings=settings))

    twice = draw("cat <lora:star:1> <lora:STAR:0.5>")
    assert twice.report.composed == ("STAR",)
    assert [one for one in twice.report.warnings if "'star' and 'STAR' are the same network" in one]
    once = draw("cat <lora:star:0.5>")
    assert once.report.warnings == ()
    assert torch.equal(twice.latents, once.latents)


def test_the_folder_is_walked_once_for_a_picture(
    sd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pool").mkdir()
    for number in range(6):
        write_network(sd, tmp_path / "pool" / f"n{number}.safetensors", seed=number, text=False)
    walks: list[object] = []
    walk = os.walk
    monkeypatch.setattr(os, "walk", lambda top, *more, **options: walks.append(top) or walk(top))
    settings = Settings(pool="pool/*", top_k=2)
    request = small(["cat <lora:n0> <lora:n1>"], steps=1, network_dir=tmp_path, settings=settings)
    assert len(DiffusersHost(sd).generate(request).report.composed) == 6
    assert len(walks) == 1


@pytest.mark.parametrize(
    ("cfg", "guidable", "negative", "words"),
    [
        (1.0, True, "ugly", "the CFG scale is 1"),
        (7.0, False, "ugly", "this model"),
        (1.0, False, "ugly", "this model"),
        (1.0, True, " ", None),
        (7.0, True, "ugly", None),
    ],
)
def test_a_negative_prompt_that_counts_for_nothing_is_said(
    cfg: float, guidable: bool, negative: str, words: str | None
) -> None:
    request = Request(["cat"], negative, cfg=cfg)
    parsed = parse_request(request, factor=2, default_size=(16, 16), guidable=guidable)
    assert len(parsed.warnings) == (words is not None)
    assert all("negative prompt has no effect" in said and words in said for said in parsed.warnings)


def test_numbers_of_numpy_are_taken() -> None:
    named = Request(["cat"], steps=np.int64(3), cfg=np.float32(3), seeds=[np.int64(3), 4], width=np.int32(8))
    assert named == Request(["cat"], steps=3, cfg=3.0, seeds=[3, 4], width=8)
    assert Request(["cat"], seeds=np.arange(2)).seeds == [0, 1]
    assert Request(["cat"], seeds=(np.uint64(2**63 - 1), 0)).seeds == (2**63 - 1, 0)  # no float between
    for one in (named.seeds[0], named.steps, named.width):
        assert type(one) is int
    assert type(named.cfg) is float


@pytest.mark.parametrize("text", ["a (cat:1.3)", "a [cat:dog:3]", "a cat AND a dog"])
def test_what_is_read_as_plain_text_is_said(text: str) -> None:
    (said,) = parse_request(Request([text]), factor=2, default_size=(16, 16), guidable=True).warnings
    assert "plain text" in said


def test_a_file_is_read_once_until_it_changes(sd: Any, tmp_path: Path) -> None:
    path = write_network(sd, tmp_path / "a.safetensors", seed=1)
    cache, folder = NetworkCache(key_map(components(sd))), NetworkFolder(tmp_path)
    first = cache.load(Tag("a"), folder)
    assert cache.load(Tag("a", te=0.3), folder).layers is first.layers
    write_network(sd, path, seed=2)
    os.utime(path, ns=(1, 1))
    changed = cache.load(Tag("a"), folder)
    assert changed.layers is not first.layers
    assert cache.load(Tag("a"), folder).layers is changed.layers
