"""Every way gives the same predictions, and one that does not is refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from loratorio_lab.bench.agreement import agree, relative_error
from loratorio_lab.bench.measure import measure, rounds_of
from loratorio_lab.bench.networks import touched
from loratorio_lab.bench.shapes import SHAPES, build_unet, twin
from loratorio_lab.bench.ways import LABELS, OURS, PLAIN, WAYS, Setup, calls


@pytest.mark.parametrize(
    ("layers", "pictures", "xl"), [("linear", 1, False), ("conv", 2, False), ("linear", 1, True)]
)
def test_all_ways_agree_with_each_other(tiny: SimpleNamespace, layers: Any, pictures: int, xl: bool) -> None:
    setup = tiny.setup(3, layers, pictures, tiny.xl if xl else tiny.shape)
    before = {name: value.clone() for name, value in setup.unet.state_dict().items()}
    with torch.inference_mode():
        found = agree(setup, WAYS)
    assert found.refused == {}
    assert list(found.ways) == list(WAYS) == list(LABELS)
    assert max(found.errors.values()) < 1e-5
    assert found.effect > 0.05
    assert found.predictions.shape[0] == 2 * pictures * 4
    after = setup.unet.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(module._forward_hooks for module in setup.unet.modules())


def test_each_network_acts_in_its_own_rows(tiny: SimpleNamespace) -> None:
    """The router against a UNet whose weights hold one network, computed here."""
    setup = tiny.setup(2, "conv")
    with torch.inference_mode():
        got = WAYS[OURS](setup)()
        for index, network in enumerate(setup.networks):
            merged = build_unet(tiny.shape, torch.device("cpu"), torch.float32)
            for name, (delta,) in network.items():
                weight = merged.get_submodule(name).weight
                weight += delta.scale * (delta.up.flatten(1) @ delta.down.flatten(1)).view_as(weight)
            rows = slice(2 * (1 + index), 2 * (2 + index))
            assert relative_error(got[rows], setup.rows.predict(merged)) < 1e-5


def test_calls_of_the_unet(tiny: SimpleNamespace) -> None:
    setup = tiny.setup(3)
    counted: list[int] = []
    setup.unet.register_forward_pre_hook(lambda module, args: counted.append(args[0].shape[0]))
    for name in (PLAIN, OURS, "plain-in-sequence", "router-in-sequence", "merge-and-back"):
        counted.clear()
        with torch.inference_mode():
            WAYS[name](setup)()
        assert len(counted) == calls(name, setup)
        assert sum(counted) == 8


FEW = {name: WAYS[name] for name in (PLAIN, OURS, "router-in-sequence")}


def without_networks(setup: Setup) -> Any:
    return WAYS[PLAIN](setup)


def fails(setup: Setup) -> Any:
    raise RuntimeError("this library\ncannot")


def too_few(setup: Setup) -> Any:
    return lambda: setup.rows.predict(setup.unet)


def not_finite(setup: Setup) -> Any:
    return lambda: WAYS[OURS](setup)() * torch.nan


@pytest.mark.parametrize("wrong", [without_networks, too_few, not_finite])
def test_a_way_that_predicts_something_else_is_not_timed(tiny: SimpleNamespace, wrong: Any) -> None:
    ways = {**FEW, "peft-mixed-batch": wrong, "merge-and-back": fails}
    found = measure(tiny.setup(), 2, lambda: None, builders=ways, what="ways")
    assert found.wrong == ("peft-mixed-batch",)
    assert "allowed is 0.0001" in found.refused["peft-mixed-batch"].reason
    assert found.refused["merge-and-back"].reason == "it failed with RuntimeError: this library cannot"
    timed = [one.name for one in found.ways]
    assert timed == list(FEW)


def test_our_own_failure_goes_through(tiny: SimpleNamespace) -> None:
    for name in (PLAIN, OURS):
        with pytest.raises(RuntimeError, match="cannot"):
            measure(tiny.setup(), 2, lambda: None, builders={**FEW, name: fails})


def test_networks_that_change_nothing_prove_nothing(tiny: SimpleNamespace) -> None:
    setup = tiny.setup()
    for network in setup.networks:
        for (delta,) in network.values():
            delta.up.zero_()
    with pytest.raises(ValueError, match="leaves them out"):
        measure(setup, 2, lambda: None)


@pytest.mark.parametrize("what", ["all", "ways", "steps"])
def test_what_is_measured(tiny: SimpleNamespace, what: Any) -> None:
    rounds: list[None] = []
    found = measure(tiny.setup(), 2, lambda: rounds.append(None), what=what, builders=FEW)
    assert len(rounds) == rounds_of(2, what)
    assert bool(found.ways) == (what != "steps")
    assert bool(found.steps) == (what != "ways")
    assert found.held > 0
    assert found.layers == 48
    for one in (*found.ways, *found.steps):
        assert 0 < one.seconds[0] <= one.seconds[1] <= one.seconds[2]
        assert one.ratio[0] <= one.ratio[1] <= one.ratio[2]
        if one.name == PLAIN:
            assert one.ratio == (1.0, 1.0, 1.0)


def test_a_twin_shares_the_weights(tiny: SimpleNamespace) -> None:
    unet = build_unet(tiny.shape, torch.device("cpu"), torch.float32)
    other = twin(unet)
    assert other is not unet
    mine, its = dict(unet.named_parameters()), dict(other.named_parameters())
    assert {name: value.data_ptr() for name, value in its.items()} == {
        name: value.data_ptr() for name, value in mine.items()
    }
    assert all(value.device.type == "cpu" for value in other.state_dict().values())


def test_the_published_shapes() -> None:
    """Parameters of the published UNets: 859 520 964 and 2 567 463 684."""
    for name, wanted in (("sd15", 859_520_964), ("sdxl", 2_567_463_684)):
        unet = build_unet(SHAPES[name], torch.device("meta"), torch.float32)
        assert sum(value.numel() for value in unet.parameters()) == wanted
        kinds = {type(module).__name__ for _, module in touched(unet, "conv")}
        assert kinds == {"Linear", "Conv2d"}
