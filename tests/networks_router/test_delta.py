"""ΔW of a delta against sums written out by hand, and what is refused."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from loratorio_ext.networks.files import Network
from loratorio_ext.networks.router import Dense, LowRank
from tests.networks_router import nets


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 3), st.booleans(), st.booleans())
def test_low_rank_product_is_the_sum_over_ranks(
    seed: int, rank: int, kernel: int, mid: bool, piece: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    module = nn.Conv2d(3, 5, kernel)
    rows = 3 if piece else 5

    def draw(*shape: int) -> Any:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    core = draw(rank, rank + 1, kernel, kernel) if mid else None
    down = draw(rank + 1, 3, 1, 1) if mid else draw(rank, 3, kernel, kernel)
    up = draw(rows, rank, 1, 1)
    delta = LowRank(down, up, core, 0.25, (1, 3) if piece else None)
    weight, bias = nets.delta_weight(delta, module)
    wanted = torch.zeros(5, 3, kernel, kernel, dtype=torch.float64)
    for o, i, y, x, a in itertools.product(range(rows), range(3), range(kernel), range(kernel), range(rank)):
        inner = (
            down[a, i, y, x]
            if core is None
            else sum(core[a, b, y, x] * down[b, i, 0, 0] for b in range(rank + 1))
        )
        wanted[o + (1 if piece else 0), i, y, x] += 0.25 * up[o, a, 0, 0] * inner
    assert bias is None
    assert weight.dtype == torch.float64
    assert torch.allclose(weight, wanted)


def test_half_precision_deltas_are_multiplied_in_float32() -> None:
    delta = LowRank(torch.randn(4, 6).half(), torch.randn(5, 4).half())
    weight, _ = nets.delta_weight(delta, nn.Linear(6, 5))
    assert torch.equal(weight, delta.up.float() @ delta.down.float())


def test_linear_factors_on_a_pointwise_convolution_take_its_dims() -> None:
    weight, _ = nets.delta_weight(LowRank(torch.randn(2, 6), torch.randn(5, 2)), nn.Conv2d(6, 5, 1))
    assert weight.shape == (5, 6, 1, 1)


def test_the_scale_is_for_the_weight_not_for_the_bias() -> None:
    delta = Dense(weight=torch.ones(3, 2), bias=torch.ones(3), scale=0.5)
    weight, bias = nets.delta_weight(delta, nn.Linear(2, 3))
    assert torch.equal(weight, torch.full((3, 2), 0.5))
    assert torch.equal(bias, torch.ones(3))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LowRank(torch.ones(2, 3), torch.ones(4, 5)), "ranks"),
        (lambda: LowRank(torch.ones(2, 3), torch.ones(4, 2, 3, 3)), "kernel of 1"),
        (lambda: LowRank(torch.ones(2, 3, 3, 3), torch.ones(4, 2), torch.ones(2, 2, 3, 3)), "kernel of 1"),
        (lambda: LowRank(torch.ones(2, 3), torch.ones(4, 2), scale=float("nan")), "finite"),
        (lambda: LowRank(torch.ones(2, 3), torch.ones(4, 2), output_slice=(-1, 4)), "output_slice"),
        (lambda: LowRank(torch.ones(2, 3), torch.ones(4, 2), output_slice=(0, 3)), "length 3"),
        (lambda: LowRank(torch.ones(2, 3, dtype=torch.int64), torch.ones(4, 2)), "floating"),
        (Dense, "one of"),
        (lambda: Dense(weight=torch.ones(1), computed=lambda module: torch.ones(1)), "not both"),
        (lambda: Dense(bias=torch.ones(2, 2)), "one dim"),
        (lambda: Dense(weight=torch.ones(3, 2), output_slice=(0, 4)), "length is 4"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_parts_of_a_network() -> None:
    names = ("unet.a", "text_encoder.a", "text_encoder_2.a")
    network = Network("n", dict.fromkeys(names, (Dense(bias=torch.ones(1)),)))
    for part, held in (("unet", names[:1]), ("text_encoder", names[1:]), ("text_encoder_2", names[2:])):
        assert set(network.part(part)) == set(held)
    with pytest.raises(ValueError, match="'vae'"):
        network.part("vae")
