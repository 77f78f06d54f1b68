"""Random nets, random networks for them, and the reference: every network merged into the weights alone."""

from __future__ import annotations

import copy
import random
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from loratorio_ext.networks.router import Delta, Dense, LowRank, Router, convolution_dims, norm_kind
from tests.networks_router.merging import delta_weight

NetworkLayers = dict[str, tuple[Delta, ...]]


class SmallNet(nn.Module):
    """Every kind of layer once: k × k, strided, dilated, grouped and 1 × 1 convolutions, linear, norms."""

    def __init__(self, padding_mode: str = "zeros") -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, padding_mode=padding_mode)
        self.strided = nn.Conv2d(8, 12, 3, stride=2, padding=(2, 1), dilation=(2, 1))
        self.grouped = nn.Conv2d(12, 8, 3, padding="same", groups=2)
        self.pointwise = nn.Conv2d(8, 6, 1)
        self.pointwise_strided = nn.Conv2d(6, 6, 1, stride=2)
        self.group_norm = nn.GroupNorm(3, 6)
        self.to_q = nn.Linear(6, 9)
        self.layer_norm = nn.LayerNorm(9)
        self.no_bias = nn.Linear(9, 5, bias=False)
        self.add_time = nn.Linear(4, 6)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        y = self.pointwise(torch.tanh(self.grouped(torch.tanh(self.strided(torch.tanh(self.conv(x)))))))
        y = self.group_norm(self.pointwise_strided(y) + self.add_time(time)[:, :, None, None])
        y = y.flatten(2).transpose(1, 2)
        return self.no_bias(self.layer_norm(self.to_q(torch.tanh(y))))


def random_low_rank(
    module: nn.Module, rank: int, seed: int, *, mid: bool = False, piece: bool = False
) -> LowRank:
    """A delta of about the size of the layer's own output."""
    generator = torch.Generator().manual_seed(seed)
    shape = tuple(module.weight.shape)
    width, kernel = shape[0], shape[2:]
    output_slice = (1, width - 2) if piece else None
    ones = (1,) * len(kernel)
    rows = output_slice[1] if output_slice else width

    def draw(*size: int) -> Tensor:
        values = torch.randn(*size, generator=generator, dtype=torch.float64)
        return (values / max(1, values[0].numel()) ** 0.5).float()

    if mid:
        core = draw(rank, rank + 1, *kernel)
        return LowRank(draw(rank + 1, shape[1], *ones), draw(rows, rank, *ones), core, 0.75, output_slice)
    return LowRank(draw(rank, shape[1], *kernel), draw(rows, rank, *ones), None, 0.75, output_slice)


def random_network(
    net: nn.Module, seed: int, *, kinds: str = "all", ranks: Sequence[int] = (1, 2, 4, 5)
) -> NetworkLayers:
    """A network that touches some of the layers; kinds: "all" or "low_rank"."""
    choose = random.Random(seed)
    layers: NetworkLayers = {}
    for name, module in net.named_modules():
        if not hasattr(module, "weight") or choose.random() < 0.25:
            continue
        number = choose.randrange(2**31)
        width = module.weight.shape[0]
        if norm_kind(module) is not None:
            if kinds == "all":
                layers[name] = (Dense(weight=torch.randn(width), bias=torch.randn(width), scale=0.5),)
            continue
        deltas: list[Delta] = []
        grouped = getattr(module, "groups", 1) > 1
        tucker = convolution_dims(module) > 0 and choose.random() < 0.4
        piece = not grouped and width > 4 and choose.random() < 0.3
        deltas.append(random_low_rank(module, choose.choice(ranks), number, mid=tucker, piece=piece))
        if kinds == "all" and choose.random() < 0.3:
            given = torch.randn(module.weight.shape) * 0.1
            if choose.random() < 0.5:
                deltas.append(
                    Dense(weight=given, bias=torch.randn(width) if module.bias is not None else None)
                )
            else:
                deltas.append(Dense(computed=lambda _module, given=given: given, scale=0.7))
        layers[name] = tuple(deltas)
    return layers


def small(seed: int, count: int, padding_mode: str = "zeros") -> tuple[SmallNet, list[NetworkLayers]]:
    """A net, and networks for it."""
    torch.manual_seed(seed)
    net = SmallNet(padding_mode).eval()
    return net, [random_network(net, number) for number in range(count)]


def merged(
    net: nn.Module, networks: Sequence[Mapping[str, Sequence[Delta]]], strengths: Sequence[float]
) -> nn.Module:
    """A float64 copy of the net with the networks added to its weights."""
    copied = copy.deepcopy(net).double()
    for network, strength in zip(networks, strengths, strict=True):
        for name, deltas in network.items():
            module = copied.get_submodule(name)
            for delta in deltas:
                weight, bias = delta_weight(delta, module)
                with torch.no_grad():
                    if weight is not None:
                        module.weight += strength * weight.double()
                    if bias is not None:
                        module.bias += strength * bias.double()
    return copied


def reference_rows(
    net: nn.Module,
    networks: Sequence[Mapping[str, Sequence[Delta]]],
    strengths: Sequence[Sequence[float]],
    per_row: int,
    *inputs: Tensor,
) -> Tensor:
    """Every row through its own merged copy, float64."""
    outputs = []
    with torch.no_grad():
        for index, row in enumerate(strengths):
            part = slice(index * per_row, (index + 1) * per_row)
            outputs.append(merged(net, networks, row)(*(value[part].double() for value in inputs)))
    return torch.cat(outputs)


def relative_error(got: Tensor, wanted: Tensor) -> float:
    """Largest difference over the largest value."""
    return float((got.double() - wanted).abs().max() / wanted.abs().max())


def hook_tables(net: nn.Module) -> list[tuple[object, ...]]:
    """Every module's hook tables, as plain values."""
    tables = sorted(name for name in vars(net) if "hook" in name)
    return [
        (
            path,
            name,
            tuple(vars(module)[name].items()) if hasattr(vars(module)[name], "items") else vars(module)[name],
        )
        for path, module in net.named_modules()
        for name in tables
    ]


def snapshot(net: nn.Module) -> dict[str, tuple[int, int, Tensor]]:
    """State by name: identity, version and value."""
    return {
        name: (value.data_ptr(), value._version, value.clone())
        for name, value in net.state_dict(keep_vars=True).items()
    }


def same_state(before: dict[str, tuple[int, int, Tensor]], net: nn.Module) -> bool:
    """Whether nothing was written, moved or replaced."""
    now = snapshot(net)
    return list(now) == list(before) and all(
        now[k][:2] == before[k][:2] and torch.equal(now[k][2], before[k][2]) for k in now
    )


def router_for(net: nn.Module, networks: Sequence[Mapping[str, Sequence[Delta]]], **options: int) -> Router:
    """A router over all of the net's modules."""
    return Router(dict(net.named_modules()), networks, **options)
