"""Which rows share a model call, and that a row's prediction does not depend on it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.webuis.forge import changes
from tests.webuis.forge.changes import TWO

AND = "a cat AND a red dog :0.6 <lora:te:1> <lora:lin:1>"
FOUR = "a cat <lora:te:1> <lora:lin:1> <lora:loha:1> <lora:full:1>"
LONG = "one two three four five six seven eight nine"


@pytest.fixture
def calls(webui: Any) -> list[tuple[list[int], torch.Tensor]]:
    """(Forge's mark of every chunk, noisy latents) of each model call from then on."""
    found: list[tuple[list[int], torch.Tensor]] = []

    def call(original: Any, x: torch.Tensor, t: torch.Tensor, **c: Any) -> Any:
        found.append((c["transformer_options"]["cond_or_uncond"], x))
        return original(x, t, **c)

    webui.around_calls(call)
    return found


def steps_of(webui: Any) -> Any:
    (one,) = webui.server.history.records()[0].run.passes
    return one.report.steps


@pytest.mark.parametrize(
    ("prompts", "settings", "chunks"),
    [
        (TWO, {}, (3, 1)),
        ([TWO, "a dog"], {}, (3, 1)),
        (AND, {}, (6, 1)),
        ([AND, "a dog AND a cow"], {"recenter": 0.5}, (6, 3)),
        ([FOUR, "a dog"], {"top_k": 1, "rescan": 9}, (5, 1)),
        (LONG + TWO, {}, (3, 1)),
    ],
)
def test_everything_that_a_look_needs_takes_one_call(
    webui: Any, draw: Any, close: Any, calls: Any, prompts: Any, settings: Any, chunks: tuple[int, int]
) -> None:
    """With Forge's own marks, and every image in every chunk in the order of the batch."""
    images = 1 if isinstance(prompts, str) else len(prompts)
    picture, p = draw(prompts, {"looks": 0, **settings})
    assert p.comments == {}
    assert [step.calls for step in steps_of(webui)] == [1] * 4 == [1] * len(calls)
    marks, x = calls[0]
    assert (marks.count(0), marks.count(1)) == chunks and len(x) == sum(chunks) * images
    assert all(torch.equal(chunk, x[:images]) for chunk in x.split(images))
    alone, _ = draw(prompts, {"looks": 0, **settings, "batch_rows": 1})
    assert close(picture, alone)


@changes.on_conditions
def two_negatives(model: Any, x: Any, t: Any, uncond: Any, cond: Any, *others: Any) -> Any:
    conds = uncond[0]["model_conds"]
    text = type(conds["c_crossattn"])(conds["c_crossattn"].cond * 0.5)
    other = {**uncond[0], "model_conds": {**conds, "c_crossattn": text}}
    return model, x, t, [*uncond, other], cond, *others


@changes.on_conditions
def late_negative(model: Any, x: Any, t: Any, uncond: Any, cond: Any, *others: Any) -> Any:
    return model, x, t, [{**uncond[0], "timestep_start": 3.0}], cond, *others


@pytest.mark.parametrize(
    ("change", "calls_of_a_look"),
    [
        (changes.one_hint, 1),
        (changes.control, 1),
        (changes.concatenated, 1),
        (changes.tiles, 2),
        (two_negatives, 2),
        (late_negative, 2),
        (changes.masks, 3),
        (changes.areas, None),
    ],
)
def test_rows_share_no_call_where_that_would_change_them(
    webui: Any, draw: Any, close: Any, beside: Any, calls: Any, change: Any, calls_of_a_look: int | None
) -> None:
    """Each is the picture of rows that are predicted one by one."""
    prompts = [TWO, "a red dog"]
    picture, p = draw(prompts, {"looks": 0}, scripts=beside(change))
    assert p.extra_generation_params == {"LoRAtorio enabled": "True"}
    if calls_of_a_look is not None:
        assert {step.calls for step in steps_of(webui)} == {calls_of_a_look}
    alone, _ = draw(prompts, {"looks": 0, "batch_rows": 1}, scripts=beside(change))
    assert close(picture, alone)


@pytest.mark.parametrize("fitting", [1, 2, 3, 4, 5])
def test_memory_parts_the_call_between_chunks(
    webui: Any, draw: Any, close: Any, beside: Any, calls: Any, fitting: int
) -> None:
    """Into calls of unequal size, beside a T2I adapter, which keeps features for its first call's rows."""

    class Kept(changes.Hints):
        control_input: torch.Tensor | None = None

        def get_control(self, x: torch.Tensor, t: torch.Tensor, c: Any, chunks: int, *_: Any) -> torch.Tensor:
            if self.control_input is None:
                self.control_input = super().get_control(x, t, c, chunks)
            assert len(self.control_input) == len(x)
            return self.control_input

    def controlled(unet: Any) -> None:
        unet.controlnet_linked_list = Kept(2)

    prompts = [TWO + " <lora:loha:1>", "a red dog"]
    wanted, _ = draw(prompts, {"looks": 0, "batch_rows": 1}, scripts=beside(controlled))
    webui.backend("memory_management").free[0] = webui.called.memory_required([2 * fitting, 4, 8, 8]) * 1.01
    calls.clear()
    picture, p = draw(prompts, {"looks": 0}, scripts=beside(controlled))
    assert p.comments == {} and close(picture, wanted)
    assert sum(len(x) for _, x in calls) == 4 * 2 * 5
    assert max(len(x) for _, x in calls) <= 2 * fitting


def test_texts_of_unequal_length_share_no_call_in_a_transformer(webui: Any, draw: Any, calls: Any) -> None:
    """As one sequence with the picture, a text that is repeated gives another prediction."""
    del webui.unet.input_blocks
    for prompt, marks in ((TWO, [[1, 0, 0, 0]]), (LONG + TWO, [[0], [1]])):
        calls.clear()
        draw(prompt, {"looks": 0})
        assert [found for found, _ in calls] == marks * 4
