"""Forge Classic, whose patchers have no identity: every clone is merged anew."""

from __future__ import annotations

from typing import Any

import pytest
import torch

TWO = "a cat <lora:te:1> <lora:lin:0.7>"


@pytest.fixture
def webui_name() -> str:
    return "forge_classic"


@pytest.mark.parametrize("kind", ["lin", "te", "locon", "cp", "loha", "full", "norm"])
def test_one_network_alone_is_the_merged_picture(webui: Any, as_merged: Any, draw: Any, kind: str) -> None:
    plain, _ = draw("a cat")
    merged, _ = as_merged(f"a cat <lora:{kind}:0.8>")
    assert not torch.equal(merged, plain)
    assert torch.equal(draw("a cat")[0], plain)
    assert webui.server.host == "Forge Classic"


def test_rows_and_conditions_are_laid_out_in_every_way(as_merged: Any, layout: dict[str, Any]) -> None:
    as_merged(**layout)


@pytest.mark.parametrize("kept", ["", ":compose=off"])
def test_several_networks(webui: Any, draw: Any, close: Any, kept: str) -> None:
    """Composed among themselves, and with one that stays merged; at a recenter of 1 they are not merged."""
    prompt = f"a cat <lora:te:1> <lora:lin:0.7> <lora:loha:1{kept}>"
    plain, merged = draw("a cat")[0], draw(prompt)[0]
    first, p = draw(prompt, {})
    assert p.comments == {} and not close(first, merged)
    assert torch.equal(draw(prompt, {})[0], first)
    assert torch.equal(draw(prompt)[0], merged) and torch.equal(draw("a cat")[0], plain)


def test_weights_are_the_base_s_while_all_are_composed(webui: Any, draw: Any) -> None:
    before = {name: weight.clone() for name, weight in webui.unet.named_parameters()}
    kept: list[bool] = []

    def call(original: Any, *arguments: Any, **named: Any) -> Any:
        kept.append(all(torch.equal(weight, before[name]) for name, weight in webui.unet.named_parameters()))
        return original(*arguments, **named)

    webui.around_calls(call)
    draw(TWO, {})
    assert kept and all(kept)


def test_a_failure_goes_on_with_all_networks_merged(
    draw: Any, close: Any, failing_in_step: Any, webui: Any
) -> None:
    failing_in_step(0, failing=1)
    picture, p = draw(TWO, {})
    assert any("from there on the networks act merged" in comment for comment in p.comments)
    assert close(picture, draw(TWO)[0])


def test_networks_that_cannot_be_told_apart_are_merged(webui: Any, draw: Any) -> None:
    class Other(webui.scripts.Script):  # type: ignore[name-defined, misc]
        def after_extra_networks_activate(self, p: Any, *args: object, **kwargs: Any) -> None:
            patches = webui.model.forge_objects_after_applying_lora.unet.patches
            del patches[next(iter(patches))]

    merged, _ = draw(TWO, scripts=[Other()])
    webui.model.current_lora_hash = "[]"
    picture, p = draw(TWO, {}, scripts=[Other(), webui.new_script()])
    assert any("cannot be told from what others have" in comment for comment in p.comments)
    assert torch.equal(picture, merged)
