"""Whatever fails in a hook of ours: the picture is the WebUI's own, and a comment says why."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from loratorio_ext.hosts import find
from loratorio_ext.hosts.webuis.generation import Generation

PROMPT = "a cat <lora:te:1> <lora:lin:1>"
QUESTIONS = (
    "obstacle",
    "networks_of_prompt",
    "take_out",
    "text_key",
    "text_encoders",
    "layers_of",
    "rows_of_call",
    "put_in_place",
)


def generation_class(running: Any) -> type[Generation[Any]]:
    name = {"a1111": "A1111Generation", "forge": "ForgeGeneration"}[running.name]
    found: type[Generation[Any]] = getattr(running.part("generation"), name)
    return found


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool(torch.allclose(a, b, rtol=1e-3, atol=2e-4))


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_that_cannot_be_answered(
    running: Any, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    plain, _ = running.draw("a cat")
    merged, _ = running.draw(PROMPT)

    def fails(*_: Any) -> Any:
        raise AttributeError("this backend has no such thing")

    with monkeypatch.context() as broken:
        broken.setattr(generation_class(running), question, fails)
        picture, p = running.draw(PROMPT, {})
    assert any("this backend has no such thing" in comment for comment in p.comments)
    assert any("the networks act merged, the usual way" in comment for comment in p.comments)
    assert close(picture, merged)
    assert not any(key.startswith("LoRAtorio enabled") for key in p.extra_generation_params)
    assert running.webui.script_callbacks.errors == []
    after, _ = running.draw("a cat")
    assert torch.equal(after, plain)
    composed, p = running.draw(PROMPT, {})
    assert p.comments == {} and not close(composed, merged)


def test_a_question_in_the_middle_of_sampling(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = running.draw("a cat")

    def fails(*_: Any) -> Any:
        raise AttributeError("it is gone")

    with monkeypatch.context() as broken:
        broken.setattr(generation_class(running), "is_in_place", fails)
        _, p = running.draw(PROMPT, {})
    call = "call 2 of 4" if running.name == "a1111" else "call 1 of 4"
    (comment,) = p.comments
    assert f"composing failed at {call} (it is gone)" in comment
    assert torch.equal(running.draw("a cat")[0], plain)


def test_a_prompt_that_cannot_be_encoded_again_is_said(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise RuntimeError("no encoder")

    monkeypatch.setattr(running.services, "encode", fails)
    _, p = running.draw(PROMPT, {})
    assert any("composing failed at" in comment for comment in p.comments)
    assert any("text encoder parts do not act" in comment for comment in p.comments)


def test_a_backend_that_keeps_networks_in_another_form_is_foretold(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Forge Neo does, whose modules have the names of Forge's."""
    if running.name == "forge":
        monkeypatch.delattr(sys.modules["backend.patcher.base"].ModelPatcher, "refresh_loras")
    else:
        monkeypatch.delattr(running.webui.networks, "networks_in_memory")
    webui = find.this_webui()
    assert webui.services is None
    obstacle = webui.server.obstacle()
    assert obstacle is not None and "a backend that LoRAtorio does not know (it has no" in obstacle


def test_a_pool_is_read_once_for_both_tabs(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    services = running.part("webui")
    reader = "load_network" if running.name == "a1111" else "patches_of_file"
    original = getattr(services, reader)

    def watched(*arguments: str) -> Any:
        read.append(Path(arguments[-1]).stem)
        return original(*arguments)

    monkeypatch.setattr(services, reader, watched)
    for script in (running.webui.script.LoRAtorio(), running.webui.script.LoRAtorio()):
        running.draw("a cat <lora:te:1>", {"pool": "lin"}, scripts=[script])
    assert read == ["lin"]
