"""Files that cannot be used: one error that names the file, the reason and the remedy."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from torch import nn

from loratorio_ext.networks.files import NetworkFileError, container, key_map, load_network
from loratorio_ext.networks.files.container import MAX_HEADER, read_header

Q = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
K2 = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"


def lora(layer: str, out: int, width: int, rank: int = 2) -> dict[str, torch.Tensor]:
    return {
        f"{layer}.lora_down.weight": torch.ones(rank, width),
        f"{layer}.lora_up.weight": torch.ones(out, rank),
    }


def refused(path: Path, keys: Any) -> str:
    with pytest.raises(NetworkFileError) as caught:
        load_network(path, keys)
    message = str(caught.value)
    assert caught.value.path == path and path.name in message
    assert "\n" not in message and len(message) < 900
    return message


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.3, 0.9, 0.999])
def test_truncated(keep: float, keys: Any, write: Any) -> None:
    path: Path = write(lora(Q, 8, 8))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    message = refused(path, keys)
    assert ("truncated" in message or "not a safetensors" in message) and "download it again" in message


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=200))
def test_any_bytes(data: bytes, keys: Any, tmp_path: Path) -> None:
    path = tmp_path / "noise.safetensors"
    path.write_bytes(data)
    refused(path, keys)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{",
        b"nul",
        b'{"a": 1}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}',
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [true], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": "x", "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 1e400]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 99999999999]}}',
        b'{"lora_unet_conv_in.alpha": {"dtype": "F32", "shape": [9], "data_offsets": [0, 4]}}',
        b'{"lora_unet_conv_in.alpha": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}}',
        b"[" * 200_000,
        b"\xff\xfe{}",
    ],
    ids=lambda header: header[:60].decode("latin1"),
)
def test_hostile_headers(header: bytes, keys: Any, tmp_path: Path) -> None:
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    refused(path, keys)


def test_header_length_is_bounded_and_nothing_is_allocated_for_it(keys: Any, tmp_path: Path) -> None:
    path = tmp_path / "long.safetensors"
    for length in (MAX_HEADER + 1, 2**63, 2**64 - 1):
        path.write_bytes(length.to_bytes(8, "little") + b"{}")
        assert "not a safetensors file" in refused(path, keys)


class Harm:
    def __reduce__(self) -> Any:
        return (pytest.fail, ("the pickle was run",))


@pytest.mark.parametrize("name", ["net.pt", "net.ckpt", "net.bin", "NET.PTH", "net.safetensors"])
@pytest.mark.parametrize("form", ["pickle", "torch"])
def test_pickles_are_never_opened(name: str, form: str, keys: Any, tmp_path: Path) -> None:
    path = tmp_path / name
    if form == "pickle":
        path.write_bytes(pickle.dumps(Harm()))
    else:
        torch.save({"a": torch.ones(1), "b": Harm()}, path)
    message = refused(path, keys)
    assert "pickle" in message and ".safetensors version" in message


def test_a_header_whose_length_looks_like_a_pickle_is_read(write: Any) -> None:
    for extra in range(400, 1200, 8):
        path = write({"a": torch.ones(1)}, {"x": "y" * extra})
        assert read_header(path).shapes == {"a": (1,)}


def test_missing_file_and_folder(keys: Any, tmp_path: Path) -> None:
    assert "cannot be read" in refused(tmp_path / "nothing.safetensors", keys)
    assert "cannot be read" in refused(tmp_path, keys)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("part", ["lora_down.weight", "lora_up.weight", "alpha"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_not_finite(value: float, part: str, dtype: torch.dtype, keys: Any, write: Any) -> None:
    tensors = {
        key: tensor.to(dtype) for key, tensor in {**lora(Q, 8, 8), f"{Q}.alpha": torch.ones(1)}.items()
    }
    tensors[f"{Q}.{part}"].view(-1)[-1] = value
    message = refused(write(tensors), keys)
    assert "NaN or infinite" in message and f"{Q}.{part}" in message


def test_quantised_and_empty_tensors(keys: Any, write: Any) -> None:
    tensors = lora(Q, 8, 8)
    assert "torch.int8" in refused(
        write({key: tensor.to(torch.int8) for key, tensor in tensors.items()}), keys
    )
    complex_alpha = {**tensors, f"{Q}.alpha": torch.tensor(1 + 2j)}
    assert "torch.complex64" in refused(write(complex_alpha), keys)
    tensors[f"{Q}.lora_down.weight"] = torch.ones(0, 8)
    assert "empty" in refused(write(tensors), keys)


def test_another_architecture_is_named(make_unet: Any, write: Any) -> None:
    sd1 = key_map({"unet": make_unet(768)})
    message = refused(write(lora(K2, 8, 2048)), sd1)
    assert "made for a weight of shape (8, 2048)" in message and "layer has (8, 768)" in message
    assert "SDXL (cross-attention width 2048), the model is Stable Diffusion 1.x" in message
    message = refused(write({"x": torch.ones(1)}), sd1)
    assert "'x'" in message and "looks made" not in message


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({**lora(Q, 16, 16), **lora(K2, 8, 1024)}, ["Stable Diffusion 2.x"]),
        (lora("lora_unet_double_blocks_0_img_attn_qkv", 8, 8), ["made for Flux"]),
        (lora("transformer.single_transformer_blocks.0.attn.to_q", 8, 8), ["made for Flux"]),
        (lora("lora_unet_joint_blocks_0_x_block_attn_qkv", 8, 8), ["Stable Diffusion 3"]),
        (lora("lora_te2_text_model_encoder_layers_0_mlp_fc1", 8, 8), ["made for SDXL"]),
        ({"model.diffusion_model.input_blocks.0.0.weight": torch.ones(2, 2)}, ["not a network"]),
        ({"emb_params": torch.ones(2, 768)}, ["textual inversion"]),
        ({}, ["none of its 0 keys"]),
    ],
)
def test_what_a_file_was_made_for_is_told(
    tensors: dict[str, torch.Tensor], words: list[str], make_unet: Any, write: Any
) -> None:
    message = refused(write(tensors), key_map({"unet": make_unet(768)}))
    assert all(word in message for word in words)


def test_norm_layers_take_no_low_rank(keys: Any, write: Any) -> None:
    message = refused(write(lora("lora_unet_down_blocks_0_attentions_0_norm", 8, 8)), keys)
    assert "LoRA on a norm layer" in message


def test_hostile_text_is_escaped_in_messages(keys: Any, tmp_path: Path) -> None:
    key = "\x1b[31m" + "k" * 5000 + "\n"
    header = json.dumps({key: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    message = refused(path, keys)
    assert "\x1b" not in message


def test_a_model_of_other_classes_is_no_reason_to_fail(write: Any) -> None:
    model = nn.Module()
    model.conv_in = nn.Linear(8, 8)
    assert load_network(write(lora("lora_unet_conv_in", 8, 8)), key_map({"unet": model})).layers


def test_a_file_with_more_tensors_than_a_network_is_refused(
    keys: Any, write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write({f"lora_unet_{number}.alpha": torch.tensor(1.0) for number in range(3)})
    read_header(path)
    monkeypatch.setattr(container, "MAX_TENSORS", 2)
    with pytest.raises(NetworkFileError, match="holds 3 tensors; a network has at most 2"):
        load_network(path, keys)


def test_keys_that_are_too_long_are_refused(keys: Any, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    longest = "x" * container.MAX_KEY
    read_header(write({longest: torch.ones(1)}))
    with pytest.raises(NetworkFileError, match="holds 501 characters in one key; a network has at most 500"):
        load_network(write({f"{longest}x": torch.ones(1)}), keys)
    monkeypatch.setattr(container, "MAX_KEYS", 5)
    with pytest.raises(NetworkFileError, match="holds 6 characters in all keys; a network has at most 5"):
        load_network(write({"one": torch.ones(1), "two": torch.ones(1)}), keys)


@pytest.mark.parametrize(
    "key", ["conv_in.modules_to_save.weight", "conv_in.bias", "conv_in.base_layer.bias", "conv_in.weight"]
)
def test_weights_of_the_model_itself_are_no_network(key: str, keys: Any, write: Any) -> None:
    """peft's bias="lora_only" and modules_to_save keep whole weights, which must not be added."""
    path = write(
        {
            **lora("base_model.model.down_blocks.0.attentions.0.proj_in", 8, 8),
            f"base_model.model.{key}": torch.ones(8),
        }
    )
    with pytest.raises(
        NetworkFileError, match="of the model itself and no change of it.*without modules_to_save"
    ):
        load_network(path, keys)
