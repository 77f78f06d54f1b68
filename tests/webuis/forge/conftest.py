from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch


@pytest.fixture(params=["forge", "forge_neo", "reforge"])
def webui_name(request: pytest.FixtureRequest) -> str:
    """The tests in this folder are for Forge and its relatives."""
    return str(request.param)


@pytest.fixture
def beside(webui: Any) -> Callable[..., list[Any]]:
    """beside(change) → scripts: one that changes the UNet's options before every sampling, and ours."""

    class Other(webui.scripts.Script):  # type: ignore[name-defined, misc]
        def __init__(self, change: Callable[[Any], None]) -> None:
            self.change = change

        def process_before_every_sampling(self, p: Any, *args: object, **kwargs: Any) -> None:
            unet = p.sd_model.forge_objects.unet.clone()
            self.change(unet)
            p.sd_model.forge_objects.unet = unet

    return lambda change: [Other(change), webui.new_script()]


@pytest.fixture
def both_orders(draw: Any, beside: Any) -> Callable[..., list[torch.Tensor]]:
    """Pictures with another extension before and after ours, and merged without ours."""

    def pictures(change: Any, prompt: Any = "a cat <lora:te:1>", settings: Any = None) -> list[torch.Tensor]:
        found = []
        other, ours = beside(change)
        for scripts in ([other, ours], [ours, other], [other]):
            latents, p = draw(prompt, settings or {"recenter": 0.0}, scripts=scripts)
            found.append(latents)
            assert p.comments == {}
        return found

    return pictures
