"""Per-network text encoding: what each source sees, and that it is done once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from loratorio_ext.hosts.diffusers_host import DiffusersHost
from loratorio_ext.hosts.diffusers_host.encoding import Encodings, encode
from loratorio_ext.hosts.diffusers_host.networks import NetworkCache, TaggedNetwork
from loratorio_ext.hosts.diffusers_host.pipeline import components
from loratorio_ext.networks.arguments import OwnArguments
from loratorio_ext.networks.files import NetworkFolder, key_map
from loratorio_ext.networks.prompt import Tag
from loratorio_ext.run import Row
from tests.hosts_diffusers.pipelines import PIPELINES, small, write_network, write_networks

TEXTS = ("a cat", "dog, blue")


def hosted(pipeline: Any, folder: Path, *tags: Tag) -> list[TaggedNetwork]:
    cache = NetworkCache(key_map(components(pipeline)))
    return [(tag, cache.load(tag, NetworkFolder(folder))) for tag in tags]


def rows_of(encodings: Encodings, source: Any) -> tuple[Tensor, Tensor | None]:
    rows = [Row(source, "cond", 0), Row(source, "cond", 1), Row(source, "uncond", 0)]
    return encodings.select([(row, ((source, 1.0),)) for row in rows])


def diffusers_text(pipeline: Any) -> tuple[Tensor, Tensor | None]:
    if hasattr(pipeline, "text_encoder_2"):
        hidden, negative, pooled, negative_pooled = pipeline.encode_prompt(
            list(TEXTS), device="cpu", negative_prompt=["ugly"] * 2
        )
        return torch.cat([hidden, negative[:1]]), torch.cat([pooled, negative_pooled[:1]])
    hidden, negative = pipeline.encode_prompt(list(TEXTS), "cpu", 1, True, negative_prompt=["ugly"] * 2)
    return torch.cat([hidden, negative[:1]]), None


@torch.no_grad()
@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_every_source_sees_its_own_text(kind: str, tmp_path: Path) -> None:
    pipeline = PIPELINES[kind]()
    names = ("a", "b", "kept")
    write_networks(pipeline, tmp_path, names)
    strengths = {"a": 0.8, "b": -0.5, "kept": 0.3}
    tags = [
        Tag(name, te=strengths[name], unet=9.0, own=OwnArguments(compose=name != "kept")) for name in names
    ]
    networks = hosted(pipeline, tmp_path, *tags)
    encodings = encode(pipeline, TEXTS, "ugly", networks)

    for name in names:
        pipeline.load_lora_weights(str(tmp_path / f"{name}.safetensors"), adapter_name=name)
    acting: dict[Any, tuple[str, ...]] = {"base": ("kept",), 0: ("a", "kept"), 1: ("b", "kept")}
    acting["merged"] = names
    seen: list[Tensor] = []
    for source, active in acting.items():
        pipeline.set_adapters(list(active), adapter_weights=[strengths[name] for name in active])
        hidden, pooled = diffusers_text(pipeline)
        ours, ours_pooled = rows_of(encodings, source)
        torch.testing.assert_close(ours, hidden, rtol=1e-4, atol=1e-5)
        if pooled is not None:
            assert ours_pooled is not None
            torch.testing.assert_close(ours_pooled, pooled, rtol=1e-4, atol=1e-5)
        assert not any(torch.allclose(ours, other) for other in seen)
        seen.append(ours)


@torch.no_grad()
def test_networks_without_a_text_part_share_the_bases_rows(sd: Any, tmp_path: Path) -> None:
    write_network(sd, tmp_path / "a.safetensors", seed=1, text=False)
    write_network(sd, tmp_path / "b.safetensors", seed=2)
    encodings = encode(sd, TEXTS, "", hosted(sd, tmp_path, Tag("a"), Tag("b")))
    assert encodings.hidden.shape[:2] == (2, 3)
    places = {source: place for (source, branch), place in encodings.sources.items() if branch == "cond"}
    assert places["base"] == places[0] != places[1] == places["merged"]


@torch.no_grad()
def test_an_empty_negative_prompt_is_zeros_where_the_model_asks_for_it(sdxl: Any, sd: Any) -> None:
    encodings = encode(sdxl, TEXTS, "", [])
    assert encodings.pooled is not None
    assert not encodings.hidden[:, -1].any()
    assert not encodings.pooled[:, -1].any()
    assert encodings.hidden[:, :-1].all(dim=-1).all()
    assert encode(sdxl, TEXTS, "x", []).hidden[:, -1].any()
    assert encode(sdxl, ("", "a"), None, []).hidden[:, -1].any()
    assert encode(sd, TEXTS, "", []).hidden[:, -1].any()


def test_text_is_encoded_once_in_one_call(sdxl: Any, tmp_path: Path) -> None:
    write_networks(sdxl, tmp_path, "ab")
    calls: list[int] = []
    for encoder in (sdxl.text_encoder, sdxl.text_encoder_2):
        encoder.register_forward_hook(lambda module, given, output: calls.append(output[0].shape[0]))
    prompts = ["cat <lora:a> <lora:b>", "dog"]
    DiffusersHost(sdxl).generate(small(prompts, "ugly", seeds=[1, 2], steps=3, network_dir=tmp_path))
    assert calls == [4 * 3, 4 * 3]  # base, two networks, merged; two prompts and the negative one


def test_a_prompt_that_is_too_long_is_said(sd: Any) -> None:
    host = DiffusersHost(sd)
    long, short = "zzzz " * 10, "a cat"
    said = host.generate(small([long, short], seeds=[1, 2], steps=1)).report.warnings
    assert sum("42 tokens" in warning and "reads 16" in warning for warning in said) == 1
    fits = host.generate(small(["abcdefghijklmn"], seeds=[1], steps=1)).report.warnings
    assert not any("tokens" in warning for warning in fits)
