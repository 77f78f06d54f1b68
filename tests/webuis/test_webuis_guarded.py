"""Whatever fails in a hook of ours: the picture is the WebUI's own, and a comment says why."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

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


def fails(*_: Any) -> Any:
    raise AttributeError("this backend has no such thing")


def generation_class(webui: Any) -> Any:
    """The adapter's generation."""
    name = webui.name if webui.name == "a1111" else "forge"
    module = sys.modules[f"loratorio_ext.hosts.{name}.generation"]
    return getattr(module, {"a1111": "A1111Generation", "forge": "ForgeGeneration"}[name])


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_that_cannot_be_answered(
    webui: Any, draw: Any, close: Any, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    plain, _ = draw("a cat")
    merged, _ = draw(PROMPT)
    with monkeypatch.context() as broken:
        broken.setattr(generation_class(webui), question, fails)
        picture, p = draw(PROMPT, {})
    assert any("this backend has no such thing" in comment for comment in p.comments)
    assert any("the networks act merged, the usual way" in comment for comment in p.comments)
    assert close(picture, merged)
    assert not any(key.startswith("LoRAtorio enabled") for key in p.extra_generation_params)
    assert webui.script_callbacks.errors == []
    after, _ = draw("a cat")
    assert torch.equal(after, plain)
    composed, p = draw(PROMPT, {})
    assert p.comments == {} and not close(composed, merged)


def test_a_question_in_the_middle_of_sampling(webui: Any, draw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, _ = draw("a cat")
    with monkeypatch.context() as broken:
        broken.setattr(generation_class(webui), "is_in_place", fails)
        _, p = draw(PROMPT, {})
    call = "call 2 of 4" if webui.name == "a1111" else "call 1 of 4"
    (comment,) = p.comments
    assert f"composing failed at {call} (this backend has no such thing)" in comment
    assert torch.equal(draw("a cat")[0], plain)


def test_a_prompt_that_cannot_be_encoded_again_is_said(
    webui: Any, draw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules["loratorio_ext.hosts.webuis.webui"].WebuiServices, "encode", fails)
    _, p = draw(PROMPT, {})
    assert any("composing failed at" in comment for comment in p.comments)
    assert any("text encoder parts do not act" in comment for comment in p.comments)


def test_a_backend_that_keeps_networks_in_another_form_is_foretold(
    standin: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a Forge Neo of the future may do."""
    owner, name = standin.networks, "networks_in_memory"
    if standin.name != "a1111":
        owner, name = sys.modules["backend.patcher.base"].ModelPatcher, "add_patches"
        monkeypatch.delattr(owner, "refresh_loras", raising=False)
    monkeypatch.delattr(owner, name)
    standin.load_script()
    obstacle = standin.server.obstacle()
    assert obstacle is not None and "a backend that LoRAtorio does not know (it has no" in obstacle


def test_a_pool_is_read_once_for_both_tabs(webui: Any, draw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    place = "own_backend" if webui.name == "forge" else "webui"
    services: Any = sys.modules[f"loratorio_ext.hosts.{webui.name}.{place}"]
    reader = "load_network" if webui.name == "a1111" else "patches_of_file"
    if webui.name != "a1111":
        names = {"forge": "ForgeBackend", "forge_neo": "NeoBackend", "reforge": "LdmBackend"}
        services = getattr(services, names[webui.name])
    original = getattr(services, reader)

    def watched(*arguments: Any) -> Any:
        read.append(Path(arguments[-1]).stem)
        return original(*arguments)

    monkeypatch.setattr(services, reader, watched)
    for script in (webui.new_script(), webui.new_script()):
        draw("a cat <lora:te:1>", {"pool": "lin"}, scripts=[script])
    assert read.count("lin") == 1


def test_networks_that_cannot_be_put_back_end_no_generation(
    webui: Any, draw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, _ = draw("a cat")
    with monkeypatch.context() as broken:
        for question in ("layers_of", "put_back"):
            broken.setattr(generation_class(webui), question, fails)
        _, p = draw(PROMPT, {})
    assert sum("this backend has no such thing" in comment for comment in p.comments) == 2
    assert webui.script_callbacks.errors == []
    assert torch.equal(draw("a cat")[0], plain)


@pytest.mark.parametrize("strength", ["nan", "inf", "1e999"])
def test_a_strength_that_is_not_finite_is_named(draw: Any, strength: str) -> None:
    _, p = draw(f"a cat <lora:lin:1> <lora:te:{strength}>", {})
    (comment,) = p.comments
    assert f"strength {strength!r} of 'te' is not finite" in comment and "act merged" in comment


def test_what_is_in_the_way_of_no_network_is_not_said(draw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type(draw("a cat", {})[1].loratorio)
    monkeypatch.setattr(kind, "obstacle", lambda self, p: "the model is of glass")
    for prompt, said in (("a cat", 0), ("a cat <lora:lin:1>", 1)):
        _, p = draw(prompt, {})
        assert sum("of glass; the networks act merged" in one for one in p.comments) == said
