"""The strength that PEFT's configuration says, in a file's header or beside it, against PEFT's own merge."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings, strategies as st
from peft.utils.other import get_pattern_key
from safetensors.torch import load_file
from torch import Tensor, nn

from loratorio_ext.hosts.diffusers_host.networks import NetworkCache
from loratorio_ext.networks.files import (
    Network,
    NetworkFileError,
    NetworkFolder,
    key_map,
    load_network,
    scale,
)
from loratorio_ext.networks.files.scale import AdapterConfig
from loratorio_ext.networks.prompt import Tag
from loratorio_ext.settings import Settings
from tests.hosts_diffusers.pipelines import make_unet
from tests.networks_router.merging import delta_weight

LINEAR = ("lora_unet_down_blocks_0_resnets_0_time_emb_proj", "down_blocks.0.resnets.0.time_emb_proj")


@pytest.fixture
def real_unet() -> Any:
    torch.manual_seed(1)
    return make_unet(12)


def weights(network: Network, model: nn.Module) -> dict[str, Tensor]:
    """ΔW of every layer, by module path."""
    found = {}
    for name, deltas in network.layers.items():
        path = name.partition(".")[2]
        found[path] = sum(delta_weight(delta, model.get_submodule(path))[0] for delta in deltas)
    return found


def same(network: Network, model: nn.Module, expected: dict[str, Tensor]) -> None:
    got = weights(network, model)
    assert got.keys() == expected.keys() and network.unmatched == ()
    for path, weight in expected.items():
        torch.testing.assert_close(got[path], weight.reshape(got[path].shape), atol=2e-6, rtol=1e-5)


def peft_merge(model: nn.Module) -> dict[str, Tensor]:
    """What PEFT itself adds to every layer that it wraps."""
    layers = {
        n: m for n, m in model.named_modules() if isinstance(m, peft.tuners.tuners_utils.BaseTunerLayer)
    }
    return {
        name.removeprefix("base_model.model."): layer.get_delta_weight("default").detach()
        for name, layer in layers.items()
    }


@pytest.mark.parametrize("told", [False, True], ids=["no alpha", "alpha"])
def test_a_kohya_file_that_diffusers_loads_and_saves_again(
    told: bool, real_unet: Any, tmp_path: Path
) -> None:
    """diffusers writes patterns such as "^down_blocks...to_v"; the reference is up · down of the first."""
    paths = [n for n, m in real_unet.named_modules() if isinstance(m, nn.Linear) and ".attn" in n]
    generator = torch.Generator().manual_seed(3)
    state, expected, alphas = {}, {}, {}
    for number, path in enumerate(paths):
        rank, layer = (4, 2, 8)[number % 3], real_unet.get_submodule(path)
        down = torch.randn(rank, layer.in_features, generator=generator)
        up = torch.randn(layer.out_features, rank, generator=generator)
        state |= {f"unet.{path}.lora_A.weight": down, f"unet.{path}.lora_B.weight": up}
        expected[path] = up @ down
        if told:
            alphas[f"unet.{path}.alpha"] = (1.0, 4.0, 6.0)[number % 3]
            expected[path] *= alphas[f"unet.{path}.alpha"] / rank
    assert len(paths) >= 16
    real_unet.load_lora_adapter(state, prefix="unet", adapter_name="default", network_alphas=alphas or None)
    real_unet.save_lora_adapter(tmp_path, adapter_name="default")
    real_unet.delete_adapters("default")
    (path,) = tmp_path.glob("*.safetensors")
    same(load_network(path, key_map({"unet": real_unet})), real_unet, expected)


CONFIGS = [
    {"r": 2, "lora_alpha": 8},
    {"r": 4, "lora_alpha": 8, "use_rslora": True},
    {"r": 2, "lora_alpha": 6, "rank_pattern": {"mid_block.*": 4}, "alpha_pattern": {"mid_block.*": 1}},
    {"r": 2, "lora_alpha": 6, "alpha_pattern": {r".*\.attn[12]\.to_(q|k)": 3, "to_k": 5, "to_out.0": 7}},
    {
        "r": 2,
        "lora_alpha": 6,
        "alpha_pattern": {r"^down_blocks\.\d.*to_v": 3, "nothing": 99, r"up_blocks.+": 1},
    },
]


@pytest.mark.parametrize("options", CONFIGS, ids=str)
@pytest.mark.parametrize("place", ["header", "beside", "beside, renamed"])
def test_patterns_mean_what_peft_means_by_them(
    options: dict[str, Any], place: str, real_unet: Any, tmp_path: Path, write: Any
) -> None:
    targets = ["to_q", "to_k", "to_v", "to_out.0", "time_emb_proj"]
    config = peft.LoraConfig(**options, target_modules=targets, init_lora_weights=False)
    model = peft.get_peft_model(real_unet, config)
    model.save_pretrained(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    if place == "header":
        said = {f"unet.{key}": value for key, value in options.items()}
        state = {f"unet.{k.removeprefix('base_model.model.')}": v for k, v in load_file(path).items()}
        path = write(state, {"lora_adapter_metadata": json.dumps(said)}, "elsewhere/net.safetensors")
    elif place == "beside, renamed":
        path = path.rename(tmp_path / "ink.safetensors")
    expected = peft_merge(model)
    plain = model.unload()
    network = load_network(path, key_map({"unet": plain}))
    assert network.notes == ()
    same(network, plain, expected)


@pytest.mark.parametrize(
    "config",
    [
        peft.LoKrConfig(r=2, alpha=6, target_modules=["to_q", "to_k"], init_weights=False),
        peft.LoKrConfig(
            r=64, alpha=6, target_modules=["to_q"], rank_pattern={"mid_block.*": 32}, init_weights=False
        ),
        peft.LoHaConfig(
            r=2, alpha=6, alpha_pattern={"to_k": 1}, target_modules=["to_q", "to_k"], init_weights=False
        ),
    ],
    ids=["LoKr", "LoKr of whole factors", "LoHa"],
)
def test_other_types_as_peft_merges_them(config: Any, real_unet: Any, tmp_path: Path) -> None:
    model = peft.get_peft_model(real_unet, config)
    model.save_pretrained(tmp_path)
    expected = peft_merge(model)
    plain = model.unload()
    same(load_network(tmp_path / "adapter_model.safetensors", key_map({"unet": plain})), plain, expected)


def test_a_configuration_that_is_missing_or_unusable_is_told(real_unet: Any, tmp_path: Path) -> None:
    config = peft.LoraConfig(r=2, lora_alpha=8, target_modules=["to_q"], init_lora_weights=False)
    model = peft.get_peft_model(real_unet, config)
    model.save_pretrained(tmp_path)
    plain = model.unload()
    beside = tmp_path / "adapter_config.json"
    cache, folder = NetworkCache(key_map({"unet": plain})), NetworkFolder(tmp_path)
    tag = Tag("adapter_model")
    assert {delta.scale for (delta,) in cache.load(tag, folder).layers.values()} == {4.0}
    assert cache.load_all([tag], Settings(), "", folder)[1] == []
    for text in (
        "",
        "[1]",
        "[" * 100_000,
        '{"lora_alpha": "many"}',
        '{"r": 2}',
        "x" * 2**21,
        '{"lora_alpha": NaN}',
    ):
        beside.write_text(text)
        network = cache.load(tag, folder)
        assert {delta.scale for (delta,) in network.layers.values()} == {1.0}
        (warning,) = cache.load_all([tag], Settings(), "", folder)[1]
        assert (
            "adapter_model" in warning and "scale is unknown and taken as 1" in warning and len(warning) < 300
        )
    beside.unlink()
    assert "adapter_config.json" in cache.load_all([tag], Settings(), "", folder)[1][0]
    # Among other networks nothing says whose it is.
    beside.write_text(json.dumps({"lora_alpha": 8}))
    renamed = (tmp_path / "adapter_model.safetensors").rename(tmp_path / "ink.safetensors")
    assert load_network(renamed, key_map({"unet": plain})).notes == ()
    (tmp_path / "chalk.safetensors").write_bytes(renamed.read_bytes())
    assert "scale is unknown" in load_network(renamed, key_map({"unet": plain})).notes[0]


@pytest.mark.parametrize("start", ["pissa", "pissa_niter_4", "olora"])
def test_an_adapter_that_changed_the_base_is_refused(start: str, keys: Any, write: Any) -> None:
    tensors = {
        f"unet.{LINEAR[1]}.lora_A.weight": torch.ones(2, 6),
        f"unet.{LINEAR[1]}.lora_B.weight": torch.ones(16, 2),
    }
    said = {"lora_alpha": 2, "init_lora_weights": start}
    with pytest.raises(NetworkFileError, match="path_initial_model_for_weight_conversion"):
        load_network(write(tensors, {"lora_adapter_metadata": json.dumps(said)}), keys)


ATOMS = [
    "to_q",
    "attn",
    "attn1",
    ".",
    r"\.",
    "mid",
    "0",
    "_",
    "^",
    "$",
    ".*",
    "[01]",
    r"\d",
    r"\d+",
    "(q|k)",
    "x?",
]


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    patterns=st.lists(
        st.lists(st.sampled_from(ATOMS), min_size=1, max_size=5).map("".join), min_size=1, max_size=4
    ),
    name=st.lists(st.sampled_from(["attn1", "to_q", "to_k", "mid", "0", "1"]), min_size=1, max_size=4).map(
        ".".join
    ),
)
def test_the_first_pattern_that_matches_counts_as_in_peft(
    patterns: list[str], name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    alphas = {pattern: float(number) for number, pattern in enumerate(patterns, 2)}
    config = AdapterConfig(Path("net.safetensors"), {"lora_alpha": 1.0, "alpha_pattern": alphas})
    expected = alphas.get(get_pattern_key(list(alphas), name), 1.0)
    assume(all(pattern.count("*") + pattern.count("+") < 3 for pattern in patterns))  # more may take too long
    assert config.scale("unet", (name,), 1) == expected


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            "(a+)+b",
            "(a|a)*b",
            "(.*)*b",
            "(.*a){20}",
            "(?:a?){30}a",
            r"(a)\1",
            "(?=(a+)+b)a",
            r"(?:\w+\.?)+b",
            "(?i)a",
            "(?>a)",
            "(",
            "[",
            "a{2,1}",
            "*",
        ),
        *(
            ".*" * 6 + "b",
            "a?" * 40 + "b",
            "(a|a)" * 30 + "b",
            r"[\][](a+)+]b",
            "x" * 2000,
            "(" * 500 + ")" * 500,
        ),
    ],
)
def test_hostile_patterns_are_refused_in_no_time(pattern: str, keys: Any, write: Any) -> None:
    tensors = {
        f"unet.{LINEAR[1]}.lora_A.weight": torch.ones(2, 6),
        f"unet.{LINEAR[1]}.lora_B.weight": torch.ones(16, 2),
    }
    said = json.dumps({"lora_alpha": 2, "alpha_pattern": {pattern: 3}})
    path = write(tensors, {"lora_adapter_metadata": said})
    began = time.perf_counter()
    with pytest.raises(NetworkFileError, match="scale of its layers is unknown"):
        load_network(path, keys)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    "pattern",
    [
        r"(down|up)_blocks\.\d+\.attentions\.\d+\.transformer_blocks\.\d+\.attn\d\.to_(q|k|v)",
        ".*down_blocks.*attn.*to_q",
        "(?!mid_block).*to_q",
        "(?i:.*TO_Q)",
        r".*\.(attn1|attn2)\.to_(q|k|v|out\.0)|.*\.ff\.net\.(0\.proj|2)",
        r"(?:\w+\.)*to_q|(?P<middle>mid_block.*)?\.proj_in",
        r"[^.]+\.\d{1,3}\.(\w+\.){2,9}?to_q",
        r"down_blocks\..+(?<!attn1)\.to_q\b",
    ],
)
def test_patterns_that_people_write_are_read_as_peft_reads_them(pattern: str) -> None:
    config = AdapterConfig(Path("net.safetensors"), {"lora_alpha": 1.0, "alpha_pattern": {pattern: 3.0}})
    block = "attentions.0.transformer_blocks.0"
    found = set()
    for start in (f"down_blocks.1.{block}", f"mid_block.{block}", "conv_in"):
        for end in (".attn1.to_q", ".attn2.to_q", ".ff.net.0.proj", ".proj_in", ""):
            expected = 3.0 if get_pattern_key([pattern], start + end) == pattern else 1.0
            assert config.scale("unet", (start + end,), 1) == expected, start + end
            found.add(expected)
    assert found == {1.0, 3.0}


def test_patterns_that_take_long_in_all_are_stopped(
    real_unet: Any, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = {n: m for n, m in real_unet.named_modules() if isinstance(m, nn.Linear)}
    tensors = {f"unet.{n}.lora_A.weight": torch.ones(1, m.in_features) for n, m in layers.items()}
    tensors |= {f"unet.{n}.lora_B.weight": torch.ones(m.out_features, 1) for n, m in layers.items()}
    alphas = {".*.*b" + "x" * number: 3 for number in range(300)}
    said = {"lora_adapter_metadata": json.dumps({"lora_alpha": 2, "alpha_pattern": alphas})}
    file, keys = write(tensors, said), key_map({"unet": real_unet})
    load_network(file, keys)
    monkeypatch.setattr(scale, "MAX_SECONDS", 1e-4)
    with pytest.raises(
        NetworkFileError, match=r"takes longer than 0\.0001 s.*scale of its layers is unknown"
    ):
        load_network(file, keys)


def test_peft_s_own_file_without_peft_s_prefix(keys: Any, write: Any, tmp_path: Path) -> None:
    tensors = {
        f"{LINEAR[1]}.lora_A.weight": torch.ones(2, 6),
        f"{LINEAR[1]}.lora_B.weight": torch.ones(16, 2),
    }
    path = write(tensors, None, "adapter_model.safetensors")
    path.with_name("adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 8}))
    ((delta,),) = load_network(path, keys).layers.values()
    assert delta.scale == 4.0
    ((delta,),) = load_network(path.rename(path.with_name("ink.safetensors")), keys).layers.values()
    assert delta.scale == 1.0
