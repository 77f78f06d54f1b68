"""A real UNet: every layer that networks touch, eight networks in one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from tests.networks_router import nets


@pytest.fixture(scope="module")
def unet() -> Any:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 16),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=12,
        attention_head_dim=4,
        norm_num_groups=4,
    ).eval()


def run(unet: nn.Module, x: Tensor, text: Tensor) -> Any:
    return unet(x, torch.tensor([500], dtype=torch.long), text).sample


@pytest.mark.parametrize("kinds", ["low_rank", "all"])
def test_eight_networks_on_a_unet(
    unet: nn.Module, record_property: Callable[[str, object], None], kinds: str
) -> None:
    torch.manual_seed(1)
    networks = [nets.random_network(unet, seed, kinds=kinds) for seed in range(8)]
    table = [[0.0] * 8] * 2 + [[0.7 * (i == j) for j in range(8)] for i in range(8) for _ in range(2)]
    table += [[0.2] * 8]
    x, text = torch.randn(len(table), 4, 8, 8), torch.randn(len(table), 5, 12)
    state, hooks = nets.snapshot(unet), nets.hook_tables(unet)
    with torch.inference_mode():
        plain = run(unet, x, text)
        with nets.router_for(unet, networks).routing(table):
            got = run(unet, x, text)
    assert nets.hook_tables(unet) == hooks
    assert nets.same_state(state, unet)
    wanted = []
    for index, row in enumerate(table):
        part = slice(index, index + 1)
        with torch.no_grad():
            wanted.append(run(nets.merged(unet, networks, row), x[part].double(), text[part].double()))
    wanted = torch.cat(wanted)
    error = nets.relative_error(got, wanted)
    record_property("relative_error_fp32", error)
    assert error < 1e-5
    assert nets.relative_error(plain, wanted) > 0.05
    assert torch.equal(got[:2], plain[:2])


def test_an_exception_in_the_middle_of_a_unet(unet: nn.Module) -> None:
    networks = [nets.random_network(unet, 3)]
    hooks = nets.hook_tables(unet)
    with pytest.raises(RuntimeError), nets.router_for(unet, networks).routing([[1.0]]):
        run(unet, torch.randn(1, 4, 8, 8), torch.randn(1, 5, 13))
    assert nets.hook_tables(unet) == hooks
