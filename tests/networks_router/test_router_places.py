"""Rows in which networks act by maps, against a reference that loops over layers, networks and places."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor, nn

from loratorio_ext.networks.router import Dense, Places, Router, UnplacedError
from loratorio_ext.networks.router.places import resized, tokens_of
from tests.networks_router import nets

World = tuple[nn.Module, Any]  # a net and networks for it
STRENGTHS = (0.8, -0.6, 1.2)


class PlacedNet(nn.Module):
    """Every kind of layer, over a latent of any size: strides, tokens, text, time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.strided = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.grouped = nn.Conv2d(12, 8, 3, padding=1, groups=2)
        self.pointwise = nn.Conv2d(8, 6, 1)
        self.group_norm = nn.GroupNorm(3, 6)
        self.add_time = nn.Linear(4, 6)
        self.attn2 = nn.ModuleDict(
            {"to_q": nn.Linear(6, 9), "to_k": nn.Linear(5, 9), "to_v": nn.Linear(5, 9)}
        )
        self.layer_norm = nn.LayerNorm(9)
        self.no_bias = nn.Linear(9, 5, bias=False)
        self.up = nn.Conv2d(5, 4, 3, padding=1)

    def forward(self, x: Tensor, time: Tensor, text: Tensor) -> Tensor:
        y = self.pointwise(torch.tanh(self.grouped(torch.tanh(self.strided(torch.tanh(self.conv(x)))))))
        y = self.group_norm(y + self.add_time(time)[:, :, None, None])
        height, width = y.shape[-2:]
        tokens = torch.tanh(y.flatten(2).transpose(1, 2))
        q, k, v = self.attn2["to_q"](tokens), self.attn2["to_k"](text), self.attn2["to_v"](text)
        tokens = self.no_bias(self.layer_norm(q + torch.softmax(q @ k.transpose(1, 2), -1) @ v))
        y = tokens.transpose(1, 2).unflatten(2, (height, width))
        return self.up(nn.functional.interpolate(y, size=x.shape[-2:]))


def inputs(rows: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    shapes = ((rows, 3, *size), (rows, 4), (rows, 7, 5))
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)  # type: ignore[return-value]


def mean_at(maps: Tensor, y: int, x: int, stride: int) -> Tensor:
    return maps[y * stride : (y + 1) * stride, x * stride : (x + 1) * stride].mean()


def reference(net: nn.Module, networks: Any, maps: Tensor, values: Sequence[Tensor]) -> Tensor:
    """Place by place, in float64: every layer plus Σ m_i (the layer with network i merged − the layer)."""
    alone = [
        nets.merged(net, networks, [s * (i == j) for j, s in enumerate(STRENGTHS)])
        for i in range(len(networks))
    ]
    height, width = maps.shape[-2:]

    def placed(name: str) -> Callable[[nn.Module, Any, Tensor], Tensor]:
        def hook(module: nn.Module, args: Any, out: Tensor) -> Tensor:
            result = out.clone()
            for i, changed in enumerate(alone):
                other = changed.get_submodule(name)
                added = type(other).forward(other, *args) - out
                for b in range(len(out)):
                    over = maps[b, i].double()
                    if out.dim() == 2 or name.endswith(("to_k", "to_v")):
                        result[b] += over.mean() * added[b]
                        continue
                    stride = 1 if out.shape[-2:] == (height, width) else 2
                    columns = -(-width // stride)
                    for place in range(-(-height // stride) * columns):
                        y, x = divmod(place, columns)
                        at = (b, slice(None), y, x) if out.dim() == 4 else (b, place)
                        result[at] += mean_at(over, y, x, stride) * added[at]
            return result

        return hook

    double = copy.deepcopy(net).double()
    for name, module in double.named_modules():
        if hasattr(module, "weight"):
            module.register_forward_hook(placed(name))
    with torch.no_grad():
        return double(*(value.double() for value in values))


@pytest.fixture(scope="module")
def world() -> World:
    torch.manual_seed(0)
    net = PlacedNet().eval()
    return net, [nets.random_network(net, seed) for seed in range(3)]


@pytest.mark.parametrize("size", [(8, 8), (11, 9), (6, 14)])
def test_every_layer_adds_what_each_network_adds_at_its_places(world: World, size: tuple[int, int]) -> None:
    net, networks = world
    values, maps = inputs(2, size), torch.rand(2, 3, *size)
    router = nets.router_for(net, networks)
    with torch.no_grad(), router.routing([STRENGTHS] * 2, Places(range(2), maps)):
        got = net(*values)
    assert nets.relative_error(got, reference(net, networks, maps, values)) < 3e-6


def test_maps_of_1_merge_and_maps_of_0_leave_the_base_to_the_bit(world: World) -> None:
    net, networks = world
    values, router = inputs(2, (11, 9)), nets.router_for(net, networks)
    with torch.no_grad():
        plain = net(*values)
        for row in ([1.0, 0, 0], [0, 1.0, 0], [0, 0, -0.7], STRENGTHS):
            wanted = nets.reference_rows(net, networks, [row] * 2, 1, *values)
            with router.routing([row] * 2, Places(range(2), torch.ones(2, 3, 11, 9))):
                assert nets.relative_error(net(*values), wanted) < 1e-5
        with router.routing([STRENGTHS] * 2, Places(range(2), torch.zeros(2, 3, 11, 9))):
            assert torch.equal(net(*values), plain)


def test_disjoint_parts_each_come_from_their_own_network() -> None:
    # Without any mixing of places.
    torch.manual_seed(1)
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Tanh(), nn.Conv2d(8, 4, 1)).eval()
    networks = [nets.random_network(net, seed) for seed in (3, 8)]
    x, maps = torch.randn(1, 3, 6, 8), torch.zeros(1, 2, 6, 8)
    maps[:, 0, :, :3], maps[:, 1, :, 3:] = 1, 1
    router = nets.router_for(net, networks)
    with torch.no_grad():
        with router.routing([[1.0, 1.0]], Places([0], maps)):
            got = net(x)
        left, right = nets.reference_rows(net, networks, [[1.0, 0.0], [0.0, 1.0]], 1, x.repeat(2, 1, 1, 1))
    wanted = torch.cat((left[..., :3], right[..., 3:]), dim=-1)[None]
    assert nets.relative_error(got, wanted) < 1e-6


@st.composite
def calls(draw: Callable[..., Any]) -> tuple[list[tuple[int, bool]], int]:
    """(kind of each row, whether it is placed), and a seed."""
    rows = draw(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=5))
    return rows, draw(st.integers(0, 10))


@given(calls())
@settings(max_examples=25, deadline=None)
def test_rows_that_place_and_rows_that_do_not_share_a_call(
    world: World, call: tuple[list[tuple[int, bool]], int]
) -> None:
    (net, networks), (rows, seed) = world, call
    kinds = ((0.0, 0.0, 0.0), (0.5, 0.0, 1.0), STRENGTHS)
    table = [kinds[kind] for kind, _ in rows]
    placed = [row for row, (_, is_placed) in enumerate(rows) if is_placed]
    maps = torch.rand(len(rows), 3, 5, 7, generator=torch.Generator().manual_seed(seed))
    values, router = inputs(len(rows), (5, 7)), nets.router_for(net, networks)
    places = Places(placed, maps[placed]) if placed else None
    with torch.no_grad():
        with router.routing(table, places):
            together = net(*values)
        for row, strengths in enumerate(table):
            one = Places([0], maps[row : row + 1]) if row in placed else None
            with router.routing([strengths], one):
                alone = net(*(value[row : row + 1] for value in values))
            assert nets.relative_error(together[row : row + 1], alone.double()) < 2e-5


def test_order_of_networks_and_copies(world: World) -> None:
    net, networks = world
    values, maps = inputs(1, (8, 6)), torch.rand(1, 3, 8, 6)
    with torch.no_grad():
        with nets.router_for(net, networks).routing([STRENGTHS], Places([0], maps)):
            first = net(*values)
        with nets.router_for(net, networks[::-1]).routing([STRENGTHS[::-1]], Places([0], maps.flip(1))):
            turned = net(*values)
        halves = torch.cat((maps / 2, maps / 2), dim=1)
        with nets.router_for(net, networks * 2).routing([STRENGTHS * 2], Places([0], halves)):
            copied = net(*values)
    assert nets.relative_error(turned, first.double()) < 1e-6
    assert nets.relative_error(copied, first.double()) < 1e-6


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 0.03), (torch.float16, 0.005)])
def test_half_precision_and_autocast(world: World, dtype: torch.dtype, bound: float) -> None:
    net, networks = world
    values, maps = inputs(2, (8, 8)), torch.rand(2, 3, 8, 8)
    wanted = reference(net, networks, maps, values)
    half = copy.deepcopy(net).to(dtype)
    with torch.no_grad(), nets.router_for(half, networks).routing([STRENGTHS] * 2, Places([0, 1], maps)):
        got = half(*(value.to(dtype) for value in values))
    assert got.dtype == dtype and nets.relative_error(got, wanted) < bound
    if dtype == torch.bfloat16:
        routing = nets.router_for(net, networks).routing([STRENGTHS] * 2, Places([0, 1], maps))
        with torch.no_grad(), torch.autocast("cpu", dtype), routing:
            got = net(*values)
        assert nets.relative_error(got, wanted) < bound


def test_a_network_of_strength_0_in_placed_rows_is_not_calculated() -> None:
    torch.manual_seed(2)
    net = nn.Sequential(nn.Conv2d(3, 4, 1)).eval()

    def never(_: nn.Module) -> Tensor:
        raise AssertionError("not asked for")

    networks = [{"0": (Dense(computed=never),)}, {"0": (Dense(weight=torch.ones(4, 3, 1, 1)),)}]
    routing = nets.router_for(net, networks).routing([[0.0, 1.0]], Places([0], torch.ones(1, 2, 4, 4)))
    with torch.no_grad(), routing:
        net(torch.randn(1, 3, 4, 4))


def one_layer() -> tuple[nn.ModuleDict, Router]:
    """A layer of tokens, and a router with one network for it."""
    net = nn.ModuleDict({"to_q": nn.Linear(3, 4)})
    return net, nets.router_for(net, [{"to_q": (Dense(weight=torch.ones(4, 3)),)}])


@pytest.mark.parametrize("tokens", [47, 50, 100])
def test_tokens_that_are_no_places_are_refused(tokens: int) -> None:
    net, router = one_layer()
    places = Places([0], torch.ones(1, 1, 8, 6))
    with router.routing([[1.0]], places), pytest.raises(UnplacedError, match="to_q has an output of"):
        net["to_q"](torch.randn(1, tokens, 3))
    with router.routing([[1.0]], places), pytest.raises(UnplacedError, match="2 entries for each row"):
        net["to_q"](torch.randn(2, 48, 3))


def test_a_call_that_is_not_ours_goes_on() -> None:
    (net, router), failed = one_layer(), []
    x = torch.randn(1, 47, 3)
    with torch.no_grad(), router.routing([[1.0]], Places([0], torch.ones(1, 1, 8, 6)), failed.append):
        got = net["to_q"](x)
    assert torch.equal(got, net["to_q"](x)) and [type(one) for one in failed] == [UnplacedError]


@pytest.mark.parametrize(
    ("layer", "wanted"),
    [
        ("down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k", "image"),
        ("unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k", "text"),
        ("diffusion_model_input_blocks_1_1_transformer_blocks_0_attn2_to_v", "text"),
        ("diffusion_model_input_blocks_1_1_transformer_blocks_0_attn2_to_q", "image"),
        ("diffusion_model.double_blocks.3.txt_attn.qkv", "text"),
        ("diffusion_model.double_blocks.3.img_attn.qkv", "image"),
        ("diffusion_model.single_blocks.30.linear1", "text first"),
        ("diffusion_model.joint_blocks.2.context_block.mlp.fc1", "text"),
        ("transformer_blocks.0.attn.add_k_proj", "text"),
    ],
)
def test_what_the_tokens_of_layers_are(layer: str, wanted: str) -> None:
    assert tokens_of(layer) == wanted


def test_joint_sequences() -> None:
    out, maps = torch.zeros(1, 5 + 12, 3), torch.rand(1, 2, 8, 6)
    places = Places([0], maps)
    found = places.at("single_blocks.0.linear1", out, -1, 0, (1, 0, 1))
    squares = maps.unflatten(2, (4, 2)).unflatten(4, (3, 2)).mean((3, 5)).flatten(2)
    assert found.shape == (1, 17, 3)
    torch.testing.assert_close(found[:, 5:], squares.transpose(1, 2)[..., [1, 0, 1]])
    torch.testing.assert_close(found[:, :5], maps.mean((2, 3))[:, None, [1, 0, 1]].expand(1, 5, 3))
    with pytest.raises(UnplacedError):
        places.at("single_blocks.0.linear1", torch.zeros(1, 9, 3), -1, 0, (0,))


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 4), st.integers(0, 10))
@settings(max_examples=50, deadline=None)
def test_means_where_maps_shrink_and_copies_where_they_grow(
    height: int, width: int, halvings: int, seed: int
) -> None:
    maps = torch.rand(1, height, width, generator=torch.Generator().manual_seed(seed))
    stride = 2**halvings
    size = (-(-height // stride), -(-width // stride))
    found = resized(maps[None], size)[0, 0]
    for y in range(size[0]):
        for x in range(size[1]):
            if size != (1, 1):
                torch.testing.assert_close(found[y, x], mean_at(maps[0], y, x, stride))
    grown = resized(maps[None], (height * 2, width * 2))[0]
    torch.testing.assert_close(grown, maps.repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert found.min() >= maps.min() - 1e-6 and found.max() <= maps.max() + 1e-6


def test_impossible_maps_are_refused() -> None:
    _, router = one_layer()
    with pytest.raises(ValueError, match="maps has shape"):
        Places([0, 1], torch.ones(1, 1, 8, 6))
    for places in (Places([0], torch.ones(1, 2, 8, 6)), Places([3], torch.ones(1, 1, 8, 6))):
        with pytest.raises(ValueError, match="places are for"), router.routing([[1.0]], places):
            pass


def test_maps_of_a_part_of_the_call() -> None:
    maps = torch.rand(2, 1, 4, 4)
    places = Places([1, 3], maps)
    part = places.of([None, 3, 0])
    assert part is not None and part.rows == (1,) and part is places.of([None, 3, 0])
    out = torch.zeros(1, 2, 4, 4)
    assert torch.equal(part.at("conv", out, 1, 1, (0,)), maps[1:])
    assert places.of([0, 2, None]) is None


def test_a_map_of_one_place_holds_everywhere_whatever_the_layer() -> None:
    places = Places([0], torch.tensor([[[[0.25]], [[2.0]]]]))
    assert places.suit(torch.zeros(1, 4, 9, 7))
    for layer, out, channels in (("to_q", torch.zeros(1, 47, 3), -1), ("conv", torch.zeros(1, 3, 5, 8), 1)):
        found = places.at(layer, out, channels, 0, (1, 0)).expand_as(out.narrow(channels, 0, 2))
        assert (found.select(channels, 0) == 2).all() and (found.select(channels, 1) == 0.25).all()


@pytest.mark.parametrize(
    ("layer", "tokens"),
    [
        ("transformer.transformer_blocks.0.attn.to_q", "image"),
        ("transformer.transformer_blocks.3.attn2.to_k", "image"),
        ("transformer.transformer_blocks.0.attn.add_k_proj", "text"),
        ("transformer.single_transformer_blocks.0.proj_mlp", "text first"),
        ("transformer.blocks.0.attn1.to_k", "image"),
        ("transformer.blocks.0.attn2.to_k", "text"),
        ("transformer.condition_embedder.text_embedder.linear_1", "text"),
        ("transformer.layers.5.attention.to_q", "text last"),
        ("transformer.noise_refiner.0.attention.to_q", "text last"),
        ("transformer.context_refiner.0.attention.to_q", "text"),
        ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k", "text"),
        ("unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k", "image"),
    ],
)
def test_tokens_of_the_layers_of_diffusers(layer: str, tokens: str) -> None:
    assert tokens_of(layer) == tokens


def test_the_tokens_of_a_padded_picture_come_before_its_text() -> None:
    """10 tokens of a picture of 10 × 4 latent pixels, padded to 32, and 32 of text."""
    maps = torch.arange(40.0).view(1, 1, 10, 4)
    found = Places([0], maps).at("transformer.layers.0.attention.to_q", torch.zeros(1, 64, 3), -1, 0, (0,))
    squares = maps.view(5, 2, 2, 2).mean(dim=(1, 3)).flatten()
    assert torch.equal(found[0, :10, 0], squares)
    assert torch.equal(found[0, 10:, 0], torch.full((54,), float(maps.mean())))
    with pytest.raises(UnplacedError):
        Places([0], maps).at("transformer.layers.0.attention.to_q", torch.zeros(1, 20, 3), -1, 0, (0,))
