"""What the router leaves behind: nothing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from loratorio_ext.networks.router import Router
from tests.networks_router import nets

Setting = tuple[nn.Module, Router, Tensor, Tensor]


@pytest.fixture
def setting() -> Any:
    net, networks = nets.small(0, 3)
    return net, nets.router_for(net, networks), torch.randn(3, 3, 7, 6), torch.randn(3, 4)


TABLE = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]


def test_state_and_hooks_are_as_before(setting: Setting) -> None:
    net, router, x, time = setting
    net.conv.register_forward_hook(lambda *_: None)
    state, hooks = nets.snapshot(net), nets.hook_tables(net)
    global_hooks = dict(torch_module._global_forward_hooks)
    with torch.inference_mode():
        plain = net(x, time)
        with router.routing(TABLE):
            assert nets.hook_tables(net) != hooks
            routed = net(x, time)
        after = net(x, time)
    assert nets.hook_tables(net) == hooks
    assert dict(torch_module._global_forward_hooks) == global_hooks
    assert nets.same_state(state, net)
    assert torch.equal(plain, after)
    assert not torch.equal(plain, routed)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_also_when_the_model_raises(setting: Setting, error: type[BaseException]) -> None:
    net, router, x, time = setting
    state, hooks = nets.snapshot(net), nets.hook_tables(net)

    def fail(*_: object) -> Any:
        raise error("in the middle")

    handle = net.group_norm.register_forward_hook(fail)
    with pytest.raises(error), router.routing(TABLE):
        net(x, time)
    handle.remove()
    assert nets.hook_tables(net) == hooks
    assert nets.same_state(state, net)
    with router.routing(TABLE):
        net(x, time)


def test_a_module_that_cannot_be_hooked_leaves_the_others_clean(setting: Setting) -> None:
    net, router, _, _ = setting
    hooks = nets.hook_tables(net)

    def refuse(*_: object, **__: object) -> Any:
        raise RuntimeError("no hooks here")

    modules = (net.to_q, net.layer_norm, net.no_bias)
    for module in modules:
        module.register_forward_hook = refuse
    with pytest.raises(RuntimeError, match="no hooks here"), router.routing(TABLE):
        pass
    for module in modules:
        del module.register_forward_hook
    assert nets.hook_tables(net) == hooks


def test_nested_routing_is_refused_and_the_outer_one_goes_on(setting: Setting) -> None:
    net, router, x, time = setting
    hooks = nets.hook_tables(net)
    with router.routing(TABLE):
        first = net(x, time)
        with pytest.raises(RuntimeError, match="routing already"), router.routing(TABLE):
            pass
        assert torch.equal(net(x, time), first)
    assert nets.hook_tables(net) == hooks
    with router.routing(TABLE):
        assert torch.equal(net(x, time), first)


def test_bad_strengths_leave_nothing(setting: Setting) -> None:
    net, router, _, _ = setting
    hooks = nets.hook_tables(net)
    with pytest.raises(ValueError, match="3 networks"), router.routing([[1.0]]):
        pass
    assert nets.hook_tables(net) == hooks


def test_only_touched_layers_are_hooked() -> None:
    net = nets.SmallNet()
    layers = {
        "conv": (nets.random_low_rank(net.conv, 2, 0),),
        "to_q": (nets.random_low_rank(net.to_q, 2, 1),),
    }
    router = nets.router_for(net, [layers, {"to_q": layers["to_q"]}])
    with router.routing([[0.0, 1.0]]):
        assert [name for name, module in net.named_modules() if module._forward_hooks] == ["to_q"]
    with router.routing([[0.0, 0.0]]):
        assert not any(module._forward_hooks for module in net.modules())


def test_what_others_captured_is_not_written_to(setting: Setting) -> None:
    net, router, x, time = setting
    captured = []
    handle = net.to_q.register_forward_hook(lambda module, args, output: captured.append((args[0], output)))
    with torch.inference_mode(), router.routing(TABLE):
        net(x, time)
    handle.remove()
    with torch.inference_mode():
        for source, output in captured:
            assert torch.equal(output, net.to_q(source))


class Passing(nn.Linear):
    """Hands its input on, or a tensor that it keeps."""

    def forward(self, x: Tensor) -> Any:
        self.kept = x
        return x


def test_an_output_that_is_not_fresh_is_not_written_to() -> None:
    module = Passing(4, 4)
    router = nets.router_for(nn.ModuleDict({"a": module}), [{"a": (nets.random_low_rank(module, 2, 0),)}])
    x = torch.randn(2, 4)
    before = x.clone()
    with torch.no_grad(), router.routing([[1.0], [1.0]]):
        out = module(x)
    assert torch.equal(x, before)
    assert torch.equal(module.kept, before)
    assert not torch.equal(out, before)


def test_rows_that_do_not_fit_are_refused(setting: Setting) -> None:
    net, router, x, time = setting
    with pytest.raises(ValueError, match="opened for 3 rows"), router.routing(TABLE):
        net(x[:2], time[:2])


def test_a_layer_called_several_times_in_one_call() -> None:
    linear = nn.Linear(6, 6)
    layers = {"a": (nets.random_low_rank(linear, 2, 0),)}
    router = nets.router_for(nn.ModuleDict({"a": linear}), [layers])
    x, table = torch.randn(4, 5, 6), [[1.0], [-0.5]]
    with torch.no_grad(), router.routing(table):
        got = linear(linear(x)[:, :2])
    wanted = []
    for index, row in enumerate(table):
        merged = nets.merged(nn.ModuleDict({"a": linear}), [layers], row)["a"]
        wanted.append(merged(merged(x[2 * index : 2 * index + 2].double())[:, :2]))
    assert nets.relative_error(got, torch.cat(wanted).detach()) < 1e-6
