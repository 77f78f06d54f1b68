"""LoRA and LoCon files in every style give the ΔW that their trainers mean."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from torch import Tensor, nn

from loratorio_ext.networks.files import Network, NetworkFileError, TargetLayer, key_map, load_network
from loratorio_ext.networks.router import Dense, LowRank
from tests.hosts_diffusers.pipelines import make_unet
from tests.networks_router.merging import delta_weight

Q = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
KOHYA_Q = "lora_unet_" + Q.replace(".", "_")
DOWN, UP = f"{KOHYA_Q}.lora_down.weight", f"{KOHYA_Q}.lora_up.weight"


@pytest.fixture(scope="session")
def merged() -> Any:
    """Gives the sum of ΔW and of Δb of a layer, zeros where there is none."""

    def sums(network: Network, name: str, model: nn.Module) -> tuple[Tensor, Tensor]:
        module = model.get_submodule(name.partition(".")[2])
        weight = torch.zeros(module.weight.shape)
        bias = torch.zeros(module.weight.shape[0])
        for delta in network.layers[name]:
            dw, db = delta_weight(delta, module)
            weight = weight if dw is None else weight + dw.reshape(weight.shape)
            bias = bias if db is None else bias + db
        return weight, bias

    return sums


@pytest.mark.parametrize(
    ("down", "up"),
    [
        ("lora_down.weight", "lora_up.weight"),
        ("lora_A.weight", "lora_B.weight"),
        ("lora.down.weight", "lora.up.weight"),
    ],
)
@pytest.mark.parametrize("layer", [KOHYA_Q, f"unet.{Q}"])
@pytest.mark.parametrize("alpha", [None, 1.0, 8.0, 0.0])
def test_linear(
    down: str, up: str, layer: str, alpha: float | None, keys: Any, unet: nn.Module, write: Any, merged: Any
) -> None:
    a, b = torch.randn(3, 8), torch.randn(8, 3)
    tensors = {f"{layer}.{down}": a, f"{layer}.{up}": b}
    if alpha is not None:
        tensors[f"{layer}.alpha"] = torch.tensor(alpha)
    network = load_network(write(tensors, {"ss_output_name": "Ink", "ss_network_dim": "3"}), keys)
    assert network.name == "net" and network.unmatched == ()
    assert dict(network.metadata) == {"ss_output_name": "Ink", "ss_network_dim": "3"}
    scale = 1.0 if alpha is None else alpha / 3
    torch.testing.assert_close(merged(network, f"unet.{Q}", unet)[0], b @ a * scale)
    assert network.part("unet") == dict(network.layers)


def test_convolutions(keys: Any, unet: nn.Module, write: Any, merged: Any) -> None:
    down, up = torch.randn(2, 8, 3, 3), torch.randn(16, 2, 1, 1)
    cp_down, cp_mid, cp_up = torch.randn(2, 4, 1, 1), torch.randn(2, 2, 3, 3), torch.randn(8, 2, 1, 1)
    flat_down, flat_up = torch.randn(2, 8), torch.randn(8, 2)
    conv1, conv_in = "lora_unet_down_blocks_0_resnets_0_conv1", "lora_unet_input_blocks_0_0"
    proj = "lora_unet_down_blocks_0_attentions_0_proj_in"
    down_of, up_of = "{}.lora_down.weight".format, "{}.lora_up.weight".format
    tensors = {down_of(conv1): down, up_of(conv1): up, f"{conv1}.alpha": torch.tensor(1)}
    tensors |= {down_of(conv_in): cp_down, f"{conv_in}.lora_mid.weight": cp_mid, up_of(conv_in): cp_up}
    tensors |= {down_of(proj): flat_down, up_of(proj): flat_up}
    network = load_network(write(tensors), keys)
    expected = torch.einsum("or,rikl->oikl", up[:, :, 0, 0], down) / 2
    torch.testing.assert_close(merged(network, "unet.down_blocks.0.resnets.0.conv1", unet)[0], expected)
    # As layers: down, core, up one after the other are one convolution with ΔW.
    x = torch.randn(1, 4, 5, 5)
    weight = merged(network, "unet.conv_in", unet)[0]
    chain = nn.functional.conv2d(nn.functional.conv2d(x, cp_down), cp_mid, padding=1)
    torch.testing.assert_close(
        nn.functional.conv2d(x, weight, padding=1), nn.functional.conv2d(chain, cp_up), atol=1e-4, rtol=1e-4
    )
    name = "unet.down_blocks.0.attentions.0.proj_in"
    torch.testing.assert_close(merged(network, name, unet)[0][:, :, 0, 0], flat_up @ flat_down)


def test_full_bias_and_norm_parts(keys: Any, unet: nn.Module, write: Any, merged: Any) -> None:
    norm, proj = "lora_unet_down_blocks_0_attentions_0_norm", "lora_unet_down_blocks_0_attentions_0_proj_in"
    conv_in = "unet.conv_in"
    tensors = {
        f"{norm}.w_norm": torch.randn(8),
        f"{norm}.b_norm": torch.randn(8),
        f"{proj}.diff": torch.randn(8, 8, 1, 1),
        f"{proj}.diff_b": torch.randn(8),
        f"{proj}.alpha": torch.tensor(0.25),  # a full difference has no rank; alpha says nothing
        f"{conv_in}.lora_A.weight": torch.randn(2, 4, 3, 3),
        f"{conv_in}.lora_B.weight": torch.randn(8, 2, 1, 1),
        f"{conv_in}.lora_B.bias": torch.randn(8),
        f"{conv_in}.alpha": torch.tensor(4.0),
        DOWN: torch.randn(2, 8),
        UP: torch.randn(8, 2),
        f"{KOHYA_Q}.bias": torch.randn(8, 8),
        f"{KOHYA_Q}.scale": torch.tensor(0.5),
    }
    network = load_network(write(tensors), keys)
    weight, bias = merged(network, "unet.down_blocks.0.attentions.0.norm", unet)
    torch.testing.assert_close((weight, bias), (tensors[f"{norm}.w_norm"], tensors[f"{norm}.b_norm"]))
    weight, bias = merged(network, "unet.down_blocks.0.attentions.0.proj_in", unet)
    torch.testing.assert_close((weight, bias), (tensors[f"{proj}.diff"], tensors[f"{proj}.diff_b"]))
    torch.testing.assert_close(merged(network, conv_in, unet)[1], 2 * tensors[f"{conv_in}.lora_B.bias"])
    expected = (tensors[UP] @ tensors[DOWN] + tensors[f"{KOHYA_Q}.bias"]) * 0.5
    torch.testing.assert_close(merged(network, f"unet.{Q}", unet)[0], expected)


def test_text_encoder_parts(keys: Any, write: Any) -> None:
    layer = "lora_te_text_model_encoder_layers_0_self_attn_k_proj"
    tensors = {f"{layer}.lora_down.weight": torch.ones(1, 6), f"{layer}.lora_up.weight": torch.ones(6, 1)}
    network = load_network(write(tensors), keys)
    assert list(network.part("text_encoder")) == ["text_encoder.encoder.layers.0.self_attn.k_proj"]
    assert network.part("unet") == {}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn])
def test_dtypes(dtype: torch.dtype, keys: Any, write: Any) -> None:
    tensors = {DOWN: torch.ones(1, 8).to(dtype), UP: torch.ones(8, 1).to(dtype)}
    (delta,) = load_network(write(tensors), keys).layers[f"unet.{Q}"]
    assert isinstance(delta, LowRank)
    assert delta.down.dtype == (torch.float16 if dtype == torch.float8_e4m3fn else dtype)


def test_the_file_may_go_after_loading(keys: Any, write: Any) -> None:
    tensors = {DOWN: torch.ones(1, 8), UP: torch.ones(8, 1)}
    path: Path = write(tensors)
    (delta,) = load_network(path, keys).layers[f"unet.{Q}"]
    path.write_bytes(b"\0" * path.stat().st_size)
    assert isinstance(delta, LowRank) and delta.down.sum() == 8


def test_output_slice_of_a_fused_layer(write: Any) -> None:
    fused = nn.Linear(4, 9)
    keys = {
        "lora_te1_q": TargetLayer("text_encoder.qkv", (0, 3), (3, 4)),
        "lora_te1_v": TargetLayer("text_encoder.qkv", (6, 3), (3, 4)),
    }
    tensors = {f"{key}.lora_down.weight": torch.randn(2, 4) for key in keys}
    tensors |= {f"{key}.lora_up.weight": torch.randn(3, 2) for key in keys}
    deltas = load_network(write(tensors), keys).layers["text_encoder.qkv"]
    assert [delta.output_slice for delta in deltas] == [(0, 3), (6, 3)]
    weight = sum(delta_weight(delta, fused)[0] for delta in deltas)
    assert isinstance(weight, Tensor) and not weight[3:6].any() and weight[:3].any() and weight[6:].any()


def test_a_layer_in_both_styles_counts_once_or_not_at_all(keys: Any, write: Any) -> None:
    a, b = torch.randn(2, 8), torch.randn(8, 2)
    both = {DOWN: a, UP: b, f"unet.{Q}.lora_A.weight": a, f"unet.{Q}.lora_B.weight": b}
    assert len(load_network(write(both), keys).layers[f"unet.{Q}"]) == 1
    both[f"unet.{Q}.lora_B.weight"] = b + 1
    with pytest.raises(NetworkFileError, match=r"net\.safetensors.*twice with different weights"):
        load_network(write(both), keys)
    both[f"unet.{Q}.lora.up.weight"] = b
    with pytest.raises(NetworkFileError, match="mean the same"):
        load_network(write(both), keys)


def test_partly_matching_files_load_and_list_the_rest(keys: Any, write: Any) -> None:
    rest = {
        "lora_unet_up_blocks_9_conv.lora_down.weight": torch.full((1, 8), torch.nan),
        "lora_unet_up_blocks_9_conv.lora_up.weight": torch.ones(8, 1),
    }
    network = load_network(write({DOWN: torch.ones(1, 8), UP: torch.ones(8, 1), **rest}), keys)
    assert set(network.layers) == {f"unet.{Q}"}
    assert set(network.unmatched) == set(rest)


@pytest.mark.parametrize(
    "part",
    [
        "oft_R.weight",
        "ia3_l",
        "boft_R",
        "vera_lambda_b",
        "lora_A.weight.absmax",
        "hada_w9",
        "lora_C.x.weight",
    ],
)
@pytest.mark.parametrize("layer", [f"unet.{Q}", f"base_model.model.{Q}", KOHYA_Q])
def test_an_unknown_part_of_a_layer_is_no_rest(part: str, layer: str, keys: Any, write: Any) -> None:
    """A network of which something would silently not act: OFT of peft and OneTrainer, VeRA, ..."""
    tensors = {DOWN: torch.ones(1, 8), UP: torch.ones(8, 1), f"{layer}.{part}": torch.ones(8)}
    with pytest.raises(NetworkFileError, match=r"unknown type of network|does not belong"):
        load_network(write(tensors), keys)


BUNDLES = ["{}.string_to_param.*", "{}.clip_l", "{}.clip_g", "{}.clip_l_out", "{}.emb_params"]


def test_bundled_embeddings_are_named_as_not_acting(keys: Any, write: Any) -> None:
    """As LyCORIS (tools/pack_bundle.py) and OneTrainer write them."""
    tensors = {f"bundle_emb.{form.format('inky v2')}": torch.ones(2, 6) for form in BUNDLES}
    tensors |= {"bundle_emb.other.string_to_param.*": torch.ones(2, 6)}
    network = load_network(write({DOWN: torch.ones(1, 8), UP: torch.ones(8, 1), **tensors}), keys)
    assert network.unmatched == () and set(network.layers) == {f"unet.{Q}"}
    (note,) = network.notes
    assert "'inky v2', 'other'" in note and "do not act" in note


@pytest.fixture(scope="module")
def real_unet() -> nn.Module:
    torch.manual_seed(1)
    return make_unet(12)


@pytest.mark.parametrize(
    "options", [{}, {"use_rslora": True}, {"use_dora": True}, {"lora_bias": True}], ids=str
)
@pytest.mark.parametrize("prefix", ["", "unet.", "base_model.model."])
@pytest.mark.filterwarnings("ignore:Adapter 'default'")
def test_what_peft_trains_is_what_is_loaded(
    options: dict[str, bool], prefix: str, real_unet: nn.Module, write: Any, merged: Any
) -> None:
    """PEFT's own merge is the reference: alpha comes from the metadata that diffusers writes."""
    plain, model = real_unet, copy.deepcopy(real_unet)
    config = peft.LoraConfig(
        r=2,
        lora_alpha=6,
        alpha_pattern={"conv_in": 3},
        target_modules=[
            "to_out.0",
            "conv1",
            "conv_in",
            "proj_in",
            *([] if "lora_bias" in options else ["to_q"]),
        ],
        init_lora_weights=False,
        **options,
    )
    model.add_adapter(config)
    torch.manual_seed(2)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.copy_(parameter.data + 0.1 * torch.randn_like(parameter))
    state = {prefix + key: value for key, value in peft.get_peft_model_state_dict(model).items()}
    said = {"r": 2, "lora_alpha": 6, "alpha_pattern": {"conv_in": 3}, "use_rslora": "use_rslora" in options}
    if prefix == "unet.":
        said = {f"unet.{key}": value for key, value in said.items()}
    path = write(state, {"lora_adapter_metadata": json.dumps(said)})
    network = load_network(path, key_map({"unet": plain}))
    assert network.unmatched == ()
    merge = peft.tuners.tuners_utils.BaseTunerLayer
    touched = {f"unet.{name}" for name, module in model.named_modules() if isinstance(module, merge)}
    assert touched == set(network.layers)
    for name in touched:
        module = model.get_submodule(name.partition(".")[2])
        module.merge()
        before = plain.get_submodule(name.partition(".")[2])
        weight, bias = merged(network, name, plain)
        torch.testing.assert_close(before.weight + weight, module.base_layer.weight, atol=2e-6, rtol=1e-5)
        if before.bias is not None:
            torch.testing.assert_close(before.bias + bias, module.base_layer.bias, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "said",
    [
        *("", "[]", "{", '{"lora_alpha": "many"}', '{"lora_alpha": true}', '{"lora_alpha": 1e999}'),
        *("[" * 100_000, '{"alpha_pattern": 3}'),
    ],
)
def test_hostile_metadata_means_nothing(said: str, keys: Any, write: Any) -> None:
    tensors = {f"unet.{Q}.lora_A.weight": torch.ones(2, 8), f"unet.{Q}.lora_B.weight": torch.ones(8, 2)}
    (delta,) = load_network(write(tensors, {"lora_adapter_metadata": said}), keys).layers[f"unet.{Q}"]
    assert delta.scale == 1.0


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rank=st.integers(1, 6),
    alpha=st.none() | st.floats(-8, 8, width=32),
    style=st.sampled_from([KOHYA_Q, f"unet.{Q}"]),
    seed=st.integers(0, 99),
)
def test_any_rank_and_alpha(
    rank: int, alpha: float | None, style: str, seed: int, keys: Any, unet: nn.Module, write: Any, merged: Any
) -> None:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(rank, 8, generator=generator), torch.randn(8, rank, generator=generator)
    tensors = {f"{style}.lora_down.weight": a, f"{style}.lora_up.weight": b}
    if alpha is not None:
        tensors[f"{style}.alpha"] = torch.tensor([alpha])
    network = load_network(write(tensors), keys)
    assert not any(isinstance(delta, Dense) for delta in network.layers[f"unet.{Q}"])
    reference = sum(torch.outer(b[:, r].double(), a[r].double()) for r in range(rank))
    reference = reference * (1.0 if alpha is None else alpha / rank)
    torch.testing.assert_close(
        merged(network, f"unet.{Q}", unet)[0].double(), reference, atol=1e-5, rtol=1e-5
    )
