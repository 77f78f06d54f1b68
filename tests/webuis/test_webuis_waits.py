"""A step waits for the device as little as the method does: what the adapters add is counted."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

OURS = str(Path(__file__).parents[2] / "loratorio_ext")
TORCH = str(Path(torch.__file__).parent)
# Reading a number, comparing tensors, and an index that is a list: on a graphics card each waits for it.
WAITS = ("aten::_local_scalar_dense", "aten::equal", "aten::index", "aten::nonzero", "aten::is_nonzero")


class CountedWaits(TorchDispatchMode):
    """Counts what waits for the device and is called by our own code."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = function.name().partition(".")[0]
        if name in WAITS:
            frame = sys._getframe(1)
            while frame.f_back is not None and frame.f_code.co_filename.startswith(TORCH):
                frame = frame.f_back
            if frame.f_code.co_filename.startswith(OURS):
                self.found[f"{name} in {Path(frame.f_code.co_filename).name}"] += 1
        return function(*args, **(kwargs or {}))


def waits_of_a_step(webui: Any, draw: Any, prompt: Any, **settings: Any) -> Counter[str]:
    """Of the third step, when all is bound and known."""
    counted, step = CountedWaits(), [0]

    def begin(params: Any) -> None:
        step[0] += 1
        if step[0] == 3:
            counted.__enter__()
        if step[0] == 4:
            counted.__exit__(None, None, None)

    webui.before_call(begin)
    _, p = draw(prompt, settings)
    assert step[0] == 4 and p.comments == {}
    return counted.found


LIN, TE = "a cat <lora:lin:1> <lora:locon:1>", ["a cat AND a dog <lora:lin:1> <lora:te:1>"] * 2


@pytest.mark.parametrize(("prompt", "settings"), [(LIN, {}), (LIN, {"looks": 1}), (TE, {"recenter": 0.5})])
def test_a_step_waits_for_nothing(webui: Any, draw: Any, prompt: Any, settings: dict[str, Any]) -> None:
    """In Forge another extension may have replaced the texts, so they are compared; in one go."""
    assert waits_of_a_step(webui, draw, prompt, **settings) == {}
