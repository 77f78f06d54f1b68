"""What is kept of a generation for the inspector, in both WebUIs."""

from __future__ import annotations

import copy
import gc
import weakref
from typing import Any

import pytest
from PIL import Image

from loratorio_ext.hosts.webuis import generation, postprocess
from loratorio_ext.run import composer
from loratorio_ext.server.history import Record

PROMPT = "a cat <lora:te:1> <lora:lin:1>"


def newest(running: Any) -> Record:
    record: Record = running.server.history.records()[0]
    return record


def passes(record: Record) -> list[tuple[int, bool, int]]:
    """(batch, hires, completed steps) of each."""
    return [(one.batch, one.hires, one.report.totals.steps) for one in record.run.passes]


def test_two_batches_of_two(running: Any) -> None:
    _, p = running.draw([PROMPT] * 4, {}, n_iter=2, seed=7)
    record = newest(running)
    assert passes(record) == [(0, False, 4), (1, False, 4)]
    assert all(one.report.finished for one in record.run.passes)
    assert [(one.batch, one.place, one.seed) for one in record.run.pictures] == [
        (0, 0, 7),
        (0, 1, 8),
        (1, 0, 9),
        (1, 1, 10),
    ]
    shown = p.processed.images
    assert len(shown) == 5 and p.processed.index_of_first_image == 1
    assert [one.image.tobytes() for one in record.run.pictures] == [one.tobytes() for one in shown[1:]]
    assert (record.run.prompt, record.run.infotext) == (PROMPT, f"{PROMPT}\nSeed: 7")
    assert record.run.comments == ()
    assert record.run.passes[0].report.composed == ("te", "lin")


def test_samplers_that_end_before_the_last_evaluation_are_done(running: Any) -> None:
    """DDIM, Heun and others take fewer than they say."""
    running.before_call(lambda params: setattr(params.denoiser, "total_steps", 6))
    running.draw(PROMPT, {}, hr_prompts=["a dog <lora:lin:1>"])
    assert [one.report.finished for one in newest(running).run.passes] == [True, True]
    running.draw(PROMPT, {"start": 0.9})
    assert any("at all 4 evaluations" in text for text in newest(running).run.comments)


def test_nothing_of_a_batch_stays_on_the_device(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[weakref.ref[Any]] = []

    class Watched(composer.Observed):
        def __init__(self, *fields: Any, **named: Any) -> None:
            super().__init__(*fields, **named)
            steps.append(weakref.ref(self))

    monkeypatch.setattr(composer, "Observed", Watched)
    left: list[int] = []

    def look(params: Any) -> None:
        if params.denoiser.step == 0:
            left.append(sum(one() is not None for one in steps))

    running.before_call(look)
    running.draw([PROMPT] * 3, {}, n_iter=3)
    running.draw(PROMPT, {}, hr_prompts=[PROMPT])
    assert left == [0] * 5 and len(steps) == 20


def test_masks_and_pictures_of_others_are_no_pictures_of_the_run(running: Any) -> None:
    running.opts.return_mask = running.opts.return_mask_composite = True
    _, p = running.draw([PROMPT] * 2, {}, mask_for_overlay=Image.new("RGB", (3, 3)))
    pictures = [one.image for one in newest(running).run.pictures]
    assert len(p.processed.images) == 7 and [one.size for one in pictures] == [(8, 8), (8, 8)]
    running.opts.return_mask_composite = False
    running.draw([PROMPT] * 2, {}, mask_for_overlay=Image.new("RGB", (3, 3)))
    assert [one.image.size for one in newest(running).run.pictures] == [(8, 8), (8, 8)]


def test_a_hires_pass(running: Any) -> None:
    running.draw(PROMPT, {}, hr_prompts=["a dog <lora:lin:1>"])
    record = newest(running)
    assert passes(record) == [(0, False, 4), (0, True, 4)]
    assert [one.report.composed for one in record.run.passes] == [("te", "lin"), ("lin",)]
    assert record.run.pictures[0].image.size == (16, 16)


def test_a_refiner_is_a_pass_of_the_same_batch(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    services = getattr(running.part("webui"), "A1111Services" if running.name == "a1111" else "ForgeServices")
    original = services.model_identity
    step = [0]
    running.before_call(lambda params: step.__setitem__(0, params.denoiser.step))
    monkeypatch.setattr(services, "model_identity", lambda self: (*original(self), step[0] >= 3))
    _, p = running.draw([PROMPT] * 2, {}, n_iter=2)
    assert p.comments == {}
    assert passes(newest(running)) == [(0, False, 3), (0, False, 1), (1, False, 3), (1, False, 1)]


@pytest.mark.parametrize(("end", "wanted"), [("interrupted", [0]), ("skipped", [0, 1])])
def test_a_run_that_was_ended_is_kept_as_far_as_it_went(running: Any, end: str, wanted: list[int]) -> None:
    ended: list[bool] = []

    def end_it(params: Any) -> None:
        if params.denoiser.step == 1 and not ended:
            ended.append(True)
            setattr(running.webui.shared.state, end, True)

    running.before_call(end_it)
    running.draw([PROMPT] * 2, {}, n_iter=2)
    record = newest(running)
    assert passes(record) == [(0, False, 2), (1, False, 4)][: len(wanted)]
    assert record.run.passes[0].report.finished is False
    assert [one.batch for one in record.run.pictures] == wanted


def test_a_run_that_fell_back_is_kept_with_the_reason(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original = generation.Generation.step

    def failing(self: Any, *arguments: Any) -> Any:
        if self.bound.run.report.totals.steps == 2:
            raise RuntimeError("the model is broken")
        return original(self, *arguments)

    monkeypatch.setattr(generation.Generation, "step", failing)
    _, p = running.draw(PROMPT, {})
    record = newest(running)
    assert passes(record) == [(0, False, 2)]
    (comment,) = record.run.comments
    assert "call 3 of 4 (the model is broken)" in comment and f"LoRAtorio: {comment}" in p.comments


def test_what_did_not_compose_is_not_kept(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    running.draw(PROMPT)
    running.draw(PROMPT, {"enabled": False})
    running.draw("a cat", {})
    running.draw(PROMPT, {"patch_size": 1000})
    monkeypatch.setattr(generation.Generation, "step", lambda *_: 1 / 0)
    running.draw(PROMPT, {})
    assert running.server.history.records() == ()


def test_every_copy_of_p_is_a_run(running: Any) -> None:
    """X/Y/Z plot copies p for every cell, with all that hangs on it."""
    _, p = running.draw(PROMPT, {}, n_iter=1)
    for _ in range(2):
        running.webui.processing.process_images(copy.copy(p))
    assert [passes(one) for one in running.server.history.records()] == [[(0, False, 4)]] * 3
    assert (
        len({id(one.report) for record in running.server.history.records() for one in record.run.passes}) == 3
    )


def test_both_tabs_keep_their_runs_in_one_place(running: Any) -> None:
    for _ in range(2):
        p = running.webui.processing.StableDiffusionProcessingTxt2Img(
            PROMPT, scripts=[running.webui.script.LoRAtorio()], script_args=[{}]
        )
        running.webui.processing.process_images(p)
    assert [one.number for one in running.server.history.records()] == [2, 1]


def test_without_history_nothing_is_converted(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    running.draw(PROMPT, {})
    assert running.server.history.records()
    running.opts.loratorio_history = 0
    converted: list[object] = []
    monkeypatch.setattr(postprocess, "pictures_in_batches", lambda *arguments: converted.append(arguments))
    _, p = running.draw(PROMPT, {})
    assert running.server.history.records() == () and converted == [] and p.comments == {}


def test_a_failure_while_keeping_is_said_and_harms_nothing(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, before = running.draw(PROMPT, {})
    monkeypatch.setattr(postprocess, "pictures_in_batches", lambda *arguments: 1 / 0)
    picture, p = running.draw(PROMPT, {})
    assert (picture == wanted).all()
    assert [one.tobytes() for one in p.processed.images] == [one.tobytes() for one in before.processed.images]
    (comment,) = p.comments
    assert "could not be kept for the inspector (division by zero)" in comment
    assert comment in p.processed.comments
    assert running.webui.script_callbacks.errors == []
    assert len(running.server.history.records()) == 1


def test_a_kept_run_holds_neither_model_nor_networks(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Any]] = []
    module: Any = generation

    class WatchedRouter(module.Router):  # type: ignore[name-defined, misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            made.append(weakref.ref(self))

    class WatchedRun(module.Run):  # type: ignore[name-defined, misc]
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            made.append(weakref.ref(self))

    monkeypatch.setattr(module, "Router", WatchedRouter)
    monkeypatch.setattr(module, "Run", WatchedRun)
    _, p = running.draw(PROMPT, {}, hr_prompts=[PROMPT])
    del p
    gc.collect()
    assert len(made) >= 4 and [one() for one in made] == [None] * len(made)
    assert passes(newest(running)) == [(0, False, 4), (0, True, 4)]


def test_thousands_of_unknown_tags_are_said_in_a_few_sentences(running: Any) -> None:
    unknown = "".join(f"<lora:no{number}:1>" for number in range(3000))
    _, p = running.draw(PROMPT + unknown, {})
    loaded = 2 if running.name == "a1111" else 0  # Forge loads none where one is missing
    assert len(p.comments) < 20
    assert any(f"{3000 + 2 - loaded - 10} more networks" in comment for comment in p.comments)
