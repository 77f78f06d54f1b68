"""Layers of every make: other classes, dtypes, geometries, slices; and deltas that do not fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from loratorio_ext.networks.router import Dense, FittedLayers, LowRank, Router, fit
from tests.networks_router import nets

TABLE = [[1.0, 0.0], [0.0, 1.0], [-0.5, 2.0]]


def check(
    module: nn.Module, networks: Any, x: Tensor, table: list[list[float]] = TABLE, bound: float = 1e-6
) -> Tensor:
    """Route x through the module and compare with every row merged alone."""
    layers = [{"layer": deltas} for deltas in networks]
    holder = nn.ModuleDict({"layer": module})
    per_row = x.shape[0] // len(table)
    with torch.no_grad(), Router(dict(holder.named_modules()), layers).routing(table):
        got = module(x)
    wanted = []
    for index, row in enumerate(table):
        merged = nets.merged(holder, layers, row)["layer"]
        wanted.append(merged(x[index * per_row : (index + 1) * per_row].double()).detach())
    assert nets.relative_error(got, torch.cat(wanted)) < bound
    return got


class Linear(nn.Module):
    """Like the hosts' own operations: no torch.nn.Linear, a stored weight that must not be read."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.in_features, self.out_features = weight.shape[1], weight.shape[0]
        self.secret = weight
        self.weight = nn.Parameter(torch.zeros(7, dtype=torch.uint8), requires_grad=False)

    def forward(self, x: Tensor) -> Any:
        return functional.linear(x, self.secret.to(x.dtype))


def test_a_foreign_linear_with_a_packed_weight() -> None:
    weight, delta = torch.randn(5, 6), LowRank(torch.randn(2, 6), torch.randn(5, 2), scale=0.3)
    x = torch.randn(2, 4, 6)
    module = Linear(weight)
    with torch.no_grad(), Router({"a": module}, [{"a": (delta,)}]).routing([[1.0], [0.0]]):
        got = module(x)
    wanted = functional.linear(x, weight)
    wanted[0] += 0.3 * (x[0] @ delta.down.t() @ delta.up.t())
    assert torch.allclose(got, wanted, atol=1e-5)


def test_fused_qkv_slices() -> None:
    module = nn.Linear(6, 12)
    first = tuple(
        LowRank(torch.randn(rank, 6), torch.randn(4, rank), None, 0.5, (start, 4))
        for rank, start in ((2, 0), (3, 4), (1, 8))
    )
    second = (
        LowRank(torch.randn(2, 6), torch.randn(4, 2), None, 1.0, (4, 4)),
        Dense(weight=torch.randn(4, 6), bias=torch.randn(4), output_slice=(8, 4)),
        Dense(computed=lambda module: torch.ones(4, 6), output_slice=(0, 4), scale=0.1),
    )
    check(module, [first, second], torch.randn(6, 5, 6))


@pytest.mark.parametrize("mid", [False, True])
@pytest.mark.parametrize("mode", ["zeros", "circular", "reflect", "replicate"])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": (3, 2), "padding": (0, 1), "stride": (2, 1), "dilation": (1, 2)},
        {"kernel_size": 4, "padding": "same", "groups": 2},
        {"kernel_size": 2, "padding": "valid", "groups": 4},
        {"kernel_size": 1, "stride": 2, "padding": 1},
    ],
    ids=str,
)
def test_convolutions(options: dict[str, Any], mode: str, mid: bool) -> None:
    torch.manual_seed(0)
    module = nn.Conv2d(4, 8, padding_mode=mode, **options)
    deltas = [(nets.random_low_rank(module, rank, rank, mid=mid),) for rank in (1, 3)]
    check(module, deltas, torch.randn(6, 4, 7, 6))
    many_rows = [[1.0, 0.0]] * 5 + [[0.0, -0.5]] * 5
    check(module, deltas, torch.randn(10, 4, 7, 6), many_rows)
    check(module, deltas, torch.randn(4, 4, 7, 6), [[0.3, -0.5]] * 4)


def test_plain_and_mid_factors_and_a_dense_difference_on_one_convolution() -> None:
    module = nn.Conv2d(4, 6, 3, padding=1)
    plain, mid = (nets.random_low_rank(module, 2, 7, mid=mid, piece=mid) for mid in (False, True))
    dense = Dense(weight=torch.randn(6, 4, 3, 3), bias=torch.randn(6))
    check(module, [(plain, mid), (mid, dense)], torch.randn(3, 4, 5, 5))


@pytest.mark.parametrize(
    ("module", "shape"), [(nn.Conv1d(4, 6, 3, padding=1), (5,)), (nn.Conv3d(4, 6, 2, stride=2), (4, 4, 4))]
)
def test_convolutions_of_other_dims(module: nn.Module, shape: tuple[int, ...]) -> None:
    deltas = [(nets.random_low_rank(module, rank, rank),) for rank in (2, 3)]
    check(module, deltas, torch.randn(3, 4, *shape))


def test_tiling_switched_on_between_calls() -> None:
    module = nn.Conv2d(4, 4, 3, padding=1)
    deltas = [(nets.random_low_rank(module, 2, seed),) for seed in (1, 2)]
    x, router = torch.randn(3, 4, 5, 5), Router({"a": module}, [{"a": part} for part in deltas])
    with torch.no_grad(), router.routing(TABLE):
        zeros = module(x)
    module.padding_mode = "circular"
    module._reversed_padding_repeated_twice = [1, 1, 1, 1]
    with torch.no_grad(), router.routing(TABLE):
        circular = module(x)
    assert not torch.allclose(zeros, circular)
    assert torch.equal(check(module, deltas, x), circular)


@pytest.mark.parametrize("kernel", [1, 3])
def test_channels_last(kernel: int) -> None:
    module = nn.Conv2d(4, 6, kernel, padding=kernel // 2).to(memory_format=torch.channels_last)
    deltas = [(nets.random_low_rank(module, 2, seed),) for seed in (1, 2)]
    check(module, deltas, torch.randn(3, 4, 5, 5).to(memory_format=torch.channels_last))


def test_inputs_that_are_not_contiguous() -> None:
    module = nn.Linear(4, 6)
    deltas = [(nets.random_low_rank(module, 2, seed),) for seed in (1, 2)]
    check(module, deltas, torch.randn(3, 4, 7).transpose(1, 2))
    check(module, deltas, torch.randn(6, 4))


def test_norms() -> None:
    parts = [
        (Dense(weight=torch.randn(6), bias=torch.randn(6), scale=0.5),),
        (Dense(bias=torch.randn(6)), Dense(weight=torch.randn(6))),
    ]
    check(nn.LayerNorm(6, eps=1e-3), parts, torch.randn(6, 5, 6))
    check(nn.GroupNorm(3, 6, eps=1e-3), parts, torch.randn(6, 6, 5, 4))
    without_bias = [(Dense(weight=torch.randn(6)),)] * 2
    if hasattr(nn, "RMSNorm"):
        check(nn.RMSNorm(6), without_bias, torch.randn(3, 5, 6))


@pytest.mark.parametrize("source", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_of_another_dtype(source: torch.dtype) -> None:
    module = nn.Linear(6, 5)
    deltas = [
        (LowRank(torch.randn(2, 6).to(source), torch.randn(5, 2).to(source), scale=0.3),),
        (Dense(weight=torch.randn(5, 6).to(source), bias=torch.randn(5).to(source)),),
    ]
    assert check(module, deltas, torch.randn(3, 6)).dtype == torch.float32


def test_autocast() -> None:
    net, networks = nets.small(0, 3)
    table = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.3, 0.3, 0.3]]
    x, time = torch.randn(3, 3, 7, 6), torch.randn(3, 4)
    wanted = nets.reference_rows(net, networks, table, 1, x, time)
    dtypes = {}
    for name in ("conv", "to_q", "group_norm", "layer_norm"):
        net.get_submodule(name).register_forward_hook(
            lambda _m, _a, output, name=name: dtypes.setdefault(name, []).append(output.dtype)
        )
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        plain = net(x, time)
        with nets.router_for(net, networks).routing(table):
            got = net(x, time)
    assert got.dtype == plain.dtype
    assert all(before == after for before, after in dtypes.values())
    assert nets.relative_error(got, wanted) < 0.06


def test_an_input_given_by_name() -> None:
    module = nn.Linear(3, 3)
    delta = LowRank(torch.randn(1, 3), torch.randn(3, 1))
    x = torch.randn(2, 3)
    with torch.no_grad(), Router({"a": module}, [{"a": (delta,)}]).routing([[1.0]]):
        assert torch.equal(module(input=x), module(x))


@pytest.mark.parametrize(
    ("module", "delta", "message"),
    [
        (nn.Linear(3, 4), LowRank(torch.ones(1, 5), torch.ones(4, 1)), "takes 5 inputs; the layer has 3"),
        (nn.Linear(3, 4), LowRank(torch.ones(1, 3), torch.ones(5, 1)), "gives 5 outputs; the layer has 4"),
        (nn.Linear(3, 4), LowRank(torch.ones(1, 3), torch.ones(2, 1), None, 1.0, (3, 2)), "exceeds"),
        (nn.Linear(3, 4), LowRank(torch.ones(1, 3, 3, 3), torch.ones(4, 1)), "kernel"),
        (nn.Conv2d(3, 4, 3), LowRank(torch.ones(1, 3), torch.ones(4, 1)), "kernel"),
        (nn.Conv2d(3, 4, 3), Dense(weight=torch.ones(4, 3, 1, 1)), "kernel"),
        (nn.Conv2d(4, 4, 3, groups=2), LowRank(torch.ones(1, 4, 3, 3), torch.ones(4, 1)), "inputs"),
        (nn.ConvTranspose2d(3, 4, 3), LowRank(torch.ones(1, 3, 3, 3), torch.ones(4, 1)), "transposed"),
        (nn.LayerNorm(4), LowRank(torch.ones(1, 4), torch.ones(4, 1)), "normalisation"),
        (nn.LayerNorm(4), Dense(weight=torch.ones(5)), "gives 5"),
        (nn.Linear(3, 4), Dense(bias=torch.ones(3)), "gives 3 outputs"),
        (nn.MultiheadAttention(4, 2), LowRank(torch.ones(1, 4), torch.ones(12, 1)), "without calling"),
        (nn.MultiheadAttention(4, 2).out_proj, LowRank(torch.ones(1, 4), torch.ones(4, 1)), "without call"),
    ],
)
def test_deltas_that_do_not_fit_are_refused_by_layer(
    module: nn.Module, delta: LowRank | Dense, message: str
) -> None:
    with pytest.raises(ValueError, match=f"unet.some.layer.*{message}"):
        Router({"unet.some.layer": module}, [{"unet.some.layer": (delta,)}])


def test_an_unknown_layer_is_named() -> None:
    with pytest.raises(ValueError, match=r"network 1 .*'unet\.nowhere'"):
        Router({"unet.a": nn.Linear(1, 1)}, [{}, {"unet.nowhere": (Dense(bias=torch.ones(1)),)}])


def test_a_delta_is_checked_once_for_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    checked: list[str] = []
    real = fit.check_fits

    def check_fits(delta: LowRank | Dense, name: str, module: nn.Module) -> None:
        checked.append(name)
        real(delta, name, module)

    monkeypatch.setattr(fit, "check_fits", check_fits)
    modules = {"a": nn.Linear(3, 4), "b": nn.Linear(3, 4)}
    delta = LowRank(torch.ones(1, 3), torch.ones(4, 1))
    layers = FittedLayers()
    layers.add("a", modules["a"], [delta, delta])
    layers.add("b", modules["b"], [])
    assert checked == ["a", "a"] and dict(layers) == {"a": (delta, delta)}
    assert layers.modules == {"a": modules["a"]}

    Router(modules, [layers])
    assert len(checked) == 2
    Router(modules, [dict(layers)])
    assert len(checked) == 4
    with pytest.raises(ValueError, match="takes 3 inputs; the layer has 5"):
        Router({"a": nn.Linear(5, 4)}, [layers])


def test_where_one_of_several_deltas_does_not_fit_none_is_added() -> None:
    layers = FittedLayers()
    first = Dense(bias=torch.ones(4))
    layers.add("a", nn.Linear(3, 4), [first])
    with pytest.raises(ValueError, match=r"layer a \(Linear\).*gives 5 outputs"):
        layers.add("a", nn.Linear(3, 4), [first, Dense(bias=torch.ones(5))])
    assert dict(layers) == {"a": (first,)}
