"""Rows of many networks in one call against each network merged into the weights alone, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from tests.hosts_diffusers.pipelines import make_unet
from tests.networks_router import nets


def one_each(networks: Any, rows: int) -> Any:
    return [[float(i == j) for j in range(networks)] for i in range(networks) for _ in range(rows)]


@pytest.mark.parametrize("per_row", [1, 2])
@pytest.mark.parametrize("padding_mode", ["zeros", "circular"])
def test_eight_networks_in_one_call(
    record_property: Callable[[str, object], None], per_row: int, padding_mode: str
) -> None:
    net, networks = nets.small(1, 8, padding_mode)
    table = [[0.0] * 8] * 2 + one_each(8, 2) + [[0.5] * 8]
    x, time = torch.randn(len(table) * per_row, 3, 11, 9), torch.randn(len(table) * per_row, 4)
    wanted = nets.reference_rows(net, networks, table, per_row, x, time)
    router = nets.router_for(net, networks)
    with torch.inference_mode():
        plain = net(x, time)
        for _ in range(2):
            with router.routing(table):
                got = net(x, time)
    error = nets.relative_error(got, wanted)
    record_property("relative_error_fp32", error)
    assert error < 3e-6
    assert torch.equal(got[: 2 * per_row], plain[: 2 * per_row])
    assert nets.relative_error(plain, wanted) > 0.1


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 0.02), (torch.float16, 0.003)])
def test_half_precision_activations(
    record_property: Callable[[str, object], None], dtype: torch.dtype, bound: float
) -> None:
    net, networks = nets.small(2, 8)
    net = net.to(dtype)
    table = one_each(8, 1)
    x, time = torch.randn(8, 3, 11, 9).to(dtype), torch.randn(8, 4).to(dtype)
    wanted = nets.reference_rows(net, networks, table, 1, x, time)
    with torch.inference_mode(), nets.router_for(net, networks).routing(table):
        got = net(x, time)
    error = nets.relative_error(got, wanted)
    record_property(f"relative_error_{dtype}", error)
    assert got.dtype == dtype
    assert error < bound


STRENGTHS = st.sampled_from([0.0, 0.0, 1.0, 0.7, -0.6])


@st.composite
def tables(draw: Callable[..., Any]) -> Any:
    """Contiguous, shuffled, merged, kept and own, or anything."""
    networks = draw(st.integers(1, 4))
    kind = draw(st.sampled_from(["contiguous", "shuffled", "merged", "kept", "any"]))
    own = one_each(networks, draw(st.integers(1, 2)))
    if kind == "contiguous":
        return [[0.0] * networks, *own]
    if kind == "shuffled":
        return draw(st.permutations([[0.0] * networks, *own]))
    if kind == "merged":
        row = draw(st.lists(STRENGTHS, min_size=networks, max_size=networks))
        return [row] * draw(st.integers(1, 4))
    if kind == "kept":
        return [[0.8, *row[1:]] for row in [[0.0] * networks, *own]]
    rows = st.lists(STRENGTHS, min_size=networks, max_size=networks)
    return draw(st.lists(rows, min_size=1, max_size=5))


@settings(deadline=None, max_examples=40)
@given(tables(), st.integers(1, 2), st.integers(0, 10**6))
def test_any_table_on_any_networks(table: list[list[float]], per_row: int, seed: int) -> None:
    torch.manual_seed(seed)
    net = nets.SmallNet().eval()
    networks = [nets.random_network(net, seed + i, ranks=(1, 3, 16)) for i in range(len(table[0]))]
    x, time = torch.randn(len(table) * per_row, 3, 7, 6), torch.randn(len(table) * per_row, 4)
    wanted = nets.reference_rows(net, networks, table, per_row, x, time)
    with torch.inference_mode(), nets.router_for(net, networks).routing(table):
        got = net(x, time)
    assert nets.relative_error(got, wanted) < 1e-5


def test_the_copies_are_kept_bounded_and_released() -> None:
    net, networks = nets.small(3, 3)
    x, time = torch.randn(3, 3, 7, 6), torch.randn(3, 4)
    tables_used = [one_each(3, 1), one_each(3, 1)[::-1], [[1.0, 1.0, 0.5]] * 3]
    for limit in (0, 10**9):
        router = nets.router_for(net, networks, cache_bytes=limit)
        held = []
        for table in tables_used * 2:
            wanted = nets.reference_rows(net, networks, table, 1, x, time)
            with torch.inference_mode(), router.routing(table):
                got = net(x, time)
            assert nets.relative_error(got, wanted) < 1e-5
            held.append(router.held_bytes)
        if limit:
            assert held[2] == held[5] > held[0] > 0
        else:
            assert held[:3] == held[3:]
            assert max(held) < 200_000
        router.release()
        assert router.held_bytes == 0


def test_release_within_a_call_is_harmless() -> None:
    net, networks = nets.small(4, 1)
    x, time = torch.randn(1, 3, 7, 6), torch.randn(1, 4)
    router = nets.router_for(net, networks)
    with torch.inference_mode(), router.routing([[1.0]]):
        first = net(x, time)
        router.release()
        assert torch.equal(net(x, time), first)


def test_networks_loaded_in_inference_mode_serve_outside_it() -> None:
    net, _ = nets.small(6, 0)
    with torch.inference_mode():
        networks = [nets.random_network(net, seed) for seed in range(2)]
    table = [[1.0, 0.5]] * 2
    x, time = torch.randn(2, 3, 7, 6, requires_grad=True), torch.randn(2, 4)
    wanted = nets.reference_rows(net, networks, table, 1, x.detach(), time)
    with nets.router_for(net, networks).routing(table):
        got = net(x, time)
    got.sum().backward()
    assert nets.relative_error(got.detach(), wanted) < 1e-5


def test_copies_made_in_inference_mode_serve_gradients_later() -> None:
    net, networks = nets.small(5, 2)
    router = nets.router_for(net, networks)
    table = [[1.0, 0.0], [0.0, -0.5]]
    x, time = torch.randn(2, 3, 7, 6), torch.randn(2, 4)
    with torch.inference_mode(), router.routing(table):
        net(x, time)
    x.requires_grad_(True)
    with router.routing(table):
        net(x, time).square().sum().backward()
    got = x.grad.clone()
    for index, row in enumerate(table):
        y = x.detach()[index : index + 1].double().requires_grad_(True)
        nets.merged(net, networks, row)(y, time[index : index + 1].double()).square().sum().backward()
        assert nets.relative_error(got[index : index + 1], y.grad) < 1e-5


@pytest.fixture(scope="module")
def unet() -> Any:
    torch.manual_seed(0)
    return make_unet(12)


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
