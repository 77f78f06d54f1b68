"""Pictures for reference: Neo sets what the model sees beside its own picture while it encodes the prompt."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

ANY_NETWORK = pytest.mark.parametrize("tag", ["<lora:lin:1>", "<lora:te:1>"])


@pytest.fixture
def webui_name() -> str:
    return "forge_neo"


@pytest.fixture
def seen(webui: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The references at each model call, with a model as Kontext, Klein, Qwen-Image-Edit and Krea are."""
    args, model = webui.backend("args").dynamic_args, webui.model
    monkeypatch.setattr(args, "ref_latents", [])
    model.ref_latents, model.ini_latent = [], None
    original, calls = webui.prompt_parser.get_multicond_learned_conditioning, []

    def encode(sd_model: Any, prompts: Any, steps: Any) -> Any:
        first = [] if model.ini_latent is None else [model.ini_latent]
        args.ref_latents, model.ini_latent = [*first, *model.ref_latents], None
        return original(sd_model, prompts, steps)

    def call(given: Callable[..., Any], x: Any, t: Any, **conditions: Any) -> Any:
        calls.append(tuple(args.ref_latents))
        return given(x, t, **conditions)

    monkeypatch.setattr(webui.prompt_parser, "get_multicond_learned_conditioning", encode)
    webui.around_calls(call)
    return calls


@ANY_NETWORK
@pytest.mark.parametrize("batches", [1, 2])
def test_every_picture_of_img2img_sees_the_one_it_begins_with(
    webui: Any, draw: Any, seen: list[tuple[str, ...]], tag: str, batches: int
) -> None:
    for picture in ("first", "second"):
        webui.processing.StableDiffusionProcessing.cached_c[:] = [None] * 3  # of another picture
        webui.model.ini_latent = picture
        seen.clear()
        _, p = draw([f"a cat {tag}"] * batches, {"looks": 0}, n_iter=batches)
        assert p.loratorio.passes and set(seen) == {(picture,)}
        assert webui.model.ini_latent is None


@ANY_NETWORK
def test_references_that_have_changed_are_the_new_ones(
    webui: Any, draw: Any, seen: list[tuple[str, ...]], tag: str
) -> None:
    for references in (["a"], ["a", "b"], [], ["a"]):
        webui.processing.StableDiffusionProcessing.cached_c = [None] * 3  # as Image Stitch does it
        webui.model.ref_latents = references
        seen.clear()
        _, p = draw(f"a cat {tag}", {"looks": 0})
        assert p.loratorio.passes and set(seen) == {tuple(references)}


@ANY_NETWORK
def test_they_stay_where_the_networks_act_merged(
    webui: Any, draw: Any, seen: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, tag: str
) -> None:
    windows = SimpleNamespace(
        should_use_context=lambda x: True, execute=lambda calc, *args: calc(args[0], *args[1], *args[2:])
    )
    monkeypatch.setattr(webui.backend("args").dynamic_args, "context_handler", windows)
    webui.model.ini_latent = "a picture"
    _, p = draw(f"a cat {tag}", {"looks": 0})
    assert any("act merged" in text for text in p.comments) and set(seen) == {("a picture",)}
    assert webui.model.ini_latent is None
