"""The strength that tools say by tensors: alpha, LyCORIS's factors, DoRA, against the tool or its formula."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from lycoris import modules as lycoris_modules
from torch import Tensor, nn

from loratorio_ext.networks.files import NetworkFileError, key_map, load_network
from tests.networks_files.test_scale import LINEAR, same


def low_rank() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(5)
    down, up = torch.randn(4, 6, generator=generator), torch.randn(16, 4, generator=generator)
    return {f"{LINEAR[0]}.lora_down.weight": down, f"{LINEAR[0]}.lora_up.weight": up}


@pytest.mark.parametrize(
    "alpha",
    [
        *(torch.tensor(2), torch.tensor([2]), torch.tensor([[2.0]]), torch.tensor(2.0, dtype=torch.float16)),
        *(
            torch.tensor(2, dtype=torch.int64),
            torch.tensor(2.0, dtype=torch.bfloat16),
            torch.tensor(2.0).double(),
        ),
    ],
    ids=str,
)
def test_alpha_in_every_form(alpha: Tensor, keys: Any, unet: nn.Module, write: Any) -> None:
    tensors = low_rank()
    down, up = (tensor.numpy().astype(np.float64) for tensor in tensors.values())
    network = load_network(write({**tensors, f"{LINEAR[0]}.alpha": alpha}, {"ss_network_alpha": "64"}), keys)
    same(network, unet, {LINEAR[1]: torch.from_numpy(up @ down * 2 / 4).float()})


def test_alpha_in_kohyas_metadata_is_no_scale(keys: Any, unet: nn.Module, write: Any) -> None:
    """Where no tensor is, sd-scripts (networks/lora.py, create_network_from_weights) takes the rank."""
    tensors = low_rank()
    down, up = tensors.values()
    said = {"ss_network_alpha": "64", "ss_network_dim": "4", "ss_network_args": '{"rs_lora": "True"}'}
    same(load_network(write(tensors, said), keys), unet, {LINEAR[1]: up @ down})


@pytest.mark.parametrize("algorithm", ["LoConModule", "LohaModule", "LokrModule"])
@pytest.mark.parametrize("options", [{"rs_lora": True}, {"use_scalar": True}], ids=str)
def test_lycoris_puts_its_scales_into_the_tensors(
    algorithm: str, options: dict[str, Any], write: Any
) -> None:
    """The reference is what the library's module adds to the layer's output."""
    torch.manual_seed(4)
    model = nn.Module()
    model.conv_in = layer = nn.Linear(24, 32)
    if algorithm == "LokrModule":  # the second factor low-rank
        options = {**options, "factor": 4}
    module = getattr(lycoris_modules, algorithm)("m", layer, lora_dim=2, alpha=3, **options)
    for parameter in module.parameters():
        parameter.data.copy_(0.3 * torch.randn_like(parameter))
    state = {name: value.detach().clone() for name, value in module.custom_state_dict().items()}
    assert algorithm != "LokrModule" or "lokr_w2_a" in state
    file = write({f"lora_unet_conv_in.{name}": value for name, value in state.items()})
    network = load_network(file, key_map({"unet": model}))
    x = torch.eye(24)
    with torch.no_grad():
        before = layer(x)
        module.apply_to()
        added = (layer(x) - before).T
        module.restore()
    assert added.abs().max() > 1e-3
    same(network, model, {"conv_in": added})


def test_a_factor_that_no_tool_reads_is_told(keys: Any, unet: nn.Module, write: Any) -> None:
    """LyCORIS, the WebUIs and ComfyUI leave a "scalar" out; one of 1 says nothing."""
    tensors = low_rank()
    down, up = tensors.values()
    for factor, notes in ((1.0, 0), (0.3, 1)):
        network = load_network(write({**tensors, f"{LINEAR[0]}.scalar": torch.tensor(factor)}), keys)
        same(network, unet, {LINEAR[1]: up @ down})
        assert len(network.notes) == notes and all("scalar" in note for note in network.notes)


def test_dora_as_ai_toolkit_writes_it(keys: Any, unet: nn.Module, write: Any) -> None:
    """A magnitude of the outputs beside a LoRA (toolkit/models/DoRA.py), here by its formula in numpy."""
    tensors = low_rank()
    down, up = (tensor.numpy().astype(np.float64) for tensor in tensors.values())
    magnitude = torch.rand(16, generator=torch.Generator().manual_seed(6)) + 1
    before = unet.get_submodule(LINEAR[1]).weight.detach().numpy().astype(np.float64)
    merged = before + up @ down
    expected = magnitude.numpy()[:, None] * merged / np.linalg.norm(merged, axis=1, keepdims=True) - before
    network = load_network(write({**tensors, f"{LINEAR[0]}.magnitude": magnitude}), keys)
    same(network, unet, {LINEAR[1]: torch.from_numpy(expected).float()})


@pytest.mark.parametrize("alpha", [torch.inf, torch.nan, 1e8])
def test_alpha_of_whole_lokr_factors_says_nothing(
    alpha: float, keys: Any, unet: nn.Module, write: Any
) -> None:
    """LyCORIS's advice of dims such as 10⁵ gives an alpha that float16 cannot hold."""
    one, two = torch.randn(2, 3), torch.randn(8, 2)
    tensors = {"lokr_w1": one, "lokr_w2": two, "alpha": torch.tensor(alpha)}
    file = write({f"{LINEAR[0]}.{name}": tensor.half() for name, tensor in tensors.items()})
    expected = torch.from_numpy(np.kron(one.half().float().numpy(), two.half().float().numpy()))
    same(load_network(file, keys), unet, {LINEAR[1]: expected})
    low = {
        "lokr_w1": one,
        "lokr_w2_a": torch.ones(8, 1),
        "lokr_w2_b": torch.ones(1, 2),
        "alpha": torch.tensor(torch.inf),
    }
    with pytest.raises(NetworkFileError, match=r"alpha.*NaN or infinite"):
        load_network(write({f"{LINEAR[0]}.{name}": tensor for name, tensor in low.items()}), keys)
