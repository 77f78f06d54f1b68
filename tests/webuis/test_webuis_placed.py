"""Steps between two looks, in which networks are placed in a call that costs what a plain one does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

THREE = "a cat <lora:lin:1> <lora:te:1> <lora:locon:1>"
LOOKS = {"looks": 2, "gain": 0.5}


def modes_of(p: Any) -> list[list[str]]:
    return [[step.mode for step in one.report.steps] for one in p.loratorio.passes]


@pytest.mark.parametrize("recenter", [1.0, 0.5])
def test_between_looks_a_step_is_one_plain_call(webui: Any, draw: Any, recenter: float) -> None:
    plain, _ = draw("a cat")
    webui.called.calls.clear()
    _, p = draw(THREE, {**LOOKS, "recenter": recenter})
    assert p.comments == {}
    modes = modes_of(p)[0]
    assert modes.count("composed") == 2 and modes[0] == "composed"
    steps = p.loratorio.passes[0].report.steps
    assert all(step.rows == 2 and step.calls == 1 for step in steps if step.mode == "placed")
    placed = modes.count("placed")
    assert webui.called.calls.count(2) >= placed
    assert sum(webui.called.calls) == sum(step.rows for step in steps)
    assert p.extra_generation_params["LoRAtorio looks"] == "2"
    again, _ = draw("a cat")
    assert torch.equal(plain, again)


def test_placing_is_neither_merging_nor_composing_every_step(draw: Any, close: Any) -> None:
    pictures = [draw(THREE, settings)[0] for settings in (None, {"gain": 0.5}, LOOKS)]
    assert not close(pictures[0], pictures[2]) and not close(pictures[1], pictures[2])


def test_order_of_tags_batches_and_and_with_placed_steps(draw: Any, close: Any) -> None:
    first, _ = draw(THREE, LOOKS)
    turned, _ = draw("a cat <lora:locon:1> <lora:te:1> <lora:lin:1>", LOOKS)
    assert close(first, turned)
    batch, p = draw([THREE, "a dog in a longer sentence <lora:lin:1>"], LOOKS)
    assert close(batch[:1], first) and p.comments == {}
    several, p = draw("a cat AND a dog :0.6 <lora:lin:1> <lora:te:1>", LOOKS)
    assert p.comments == {} and modes_of(p)[0].count("placed") == 2
    assert not close(several, first)


def test_top_k_leaves_networks_out_between_looks_too(draw: Any, close: Any) -> None:
    _, p = draw(THREE, {**LOOKS, "top_k": 1})
    steps = p.loratorio.passes[0].report.steps
    assert all(len(step.chosen[0]) == 1 for step in steps)


def test_an_unknown_number_of_tokens_ends_placing_and_says_so(
    webui: Any, draw: Any, close: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from loratorio_ext.networks.router import places

    plain, _ = draw("a cat")
    every, _ = draw(THREE, {"gain": 0.5})

    def refuse(*_: Any) -> Any:
        raise places.UnplacedError("a layer has tokens that are no places")

    with monkeypatch.context() as patched:
        patched.setattr(places.Places, "_at", refuse)
        full, p = draw(THREE, LOOKS)
    (comment,) = p.comments
    assert "cannot be placed" in comment and "tokens that are no places" in comment
    assert set(modes_of(p)[0]) == {"composed"}
    assert close(full, every)
    assert torch.equal(draw("a cat")[0], plain)


def test_an_error_in_a_placed_step_ends_composing_and_leaves_nothing(
    webui: Any, draw: Any, failing_in_step: Any
) -> None:
    plain, merged = draw("a cat")[0], draw(THREE)[0]
    failing_in_step(2, failing=1)
    try:
        _, p = draw(THREE, LOOKS)
    except RuntimeError:
        assert webui.name == "a1111"  # there it is the WebUI's own call
    else:
        assert any("the model is broken" in comment for comment in p.comments)
    assert torch.equal(draw("a cat")[0], plain)
    assert torch.equal(draw(THREE)[0], merged)


def test_a_hires_pass_goes_on_with_the_maps_of_the_first(draw: Any) -> None:
    _, p = draw(THREE, LOOKS, hr_prompts=[THREE])
    first, hires = modes_of(p)
    assert "composed" in first and set(hires) == {"placed"}
    assert p.comments == {}
    shapes = [one.report.steps[-1].maps.shape[-2:] for one in p.loratorio.passes]
    assert shapes[0] == shapes[1]


def test_a_hires_pass_with_other_networks_looks_for_itself(draw: Any) -> None:
    _, p = draw(THREE, LOOKS, hr_prompts=["a cat <lora:lin:1> <lora:te:0.5>"])
    assert [modes[0] for modes in modes_of(p)] == ["composed", "composed"]


@pytest.mark.parametrize("others", ["<lora:locon:1> <lora:lin:1>", "<lora:lin:1> <lora:te:1>"])
def test_a_hires_pass_with_another_order_or_other_networks_looks_for_itself(draw: Any, others: str) -> None:
    _, p = draw("a cat <lora:te:1> <lora:lin:1>", LOOKS, hr_prompts=[f"a cat {others}"])
    assert [modes[0] for modes in modes_of(p)] == ["composed", "composed"]


@pytest.mark.parametrize("recenter", [1.0, 0.5])
def test_a_network_outside_of_its_steps_leaves_no_text(draw: Any, close: Any, recenter: float) -> None:
    settings = {**LOOKS, "recenter": recenter}
    for others in ("<lora:lin:1>", "<lora:lin:1> <lora:locon:1>"):
        without, _ = draw(f"a cat {others}", settings)
        never, p = draw(f"a cat {others} <lora:te:1:steps=0.99-1>", settings)
        assert "placed" in modes_of(p)[0]
        assert close(without, never)


def test_the_unconditional_text_changes_little_by_little(draw: Any) -> None:
    none, some, all_of_it = (
        draw("a cat <lora:te:1>", {**LOOKS, "recenter": recenter})[0] for recenter in (1.0, 0.999, 0.0)
    )
    assert 0 < (some - none).abs().max() < 0.05 * (all_of_it - none).abs().max()
