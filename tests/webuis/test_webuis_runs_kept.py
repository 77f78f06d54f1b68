"""What is kept of a generation for the inspector, in both WebUIs."""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from PIL import Image

from loratorio_ext.networks.router import Router
from loratorio_ext.run import Run
from loratorio_ext.server.history import Record

PROMPT = "a cat <lora:te:1> <lora:lin:1>"


def newest(webui: Any) -> Record:
    record: Record = webui.server.history.records()[0]
    return record


def passes(record: Record) -> list[tuple[int, bool, int]]:
    """(batch, hires, completed steps) of each."""
    return [(one.batch, one.hires, one.report.totals.steps) for one in record.run.passes]


def test_two_batches_of_two(webui: Any, draw: Any) -> None:
    _, p = draw([PROMPT] * 4, {}, n_iter=2, seed=7)
    record = newest(webui)
    assert passes(record) == [(0, False, 4), (1, False, 4)]
    assert all(one.report.finished for one in record.run.passes)
    kept = [(one.batch, one.place, one.seed) for one in record.run.pictures]
    assert kept == [(0, 0, 7), (0, 1, 8), (1, 0, 9), (1, 1, 10)]
    shown = p.processed.images
    assert len(shown) == 5 and p.processed.index_of_first_image == 1
    assert [one.image.tobytes() for one in record.run.pictures] == [one.tobytes() for one in shown[1:]]
    assert (record.run.prompt, record.run.infotext) == (PROMPT, f"{PROMPT}\nSeed: 7")
    assert record.run.comments == ()
    assert record.run.passes[0].report.composed == ("te", "lin")


def test_samplers_that_end_before_the_last_evaluation_are_done(webui: Any, draw: Any) -> None:
    """DDIM, Heun and others take fewer than they say."""
    webui.before_call(lambda params: setattr(params.denoiser, "total_steps", 6))
    draw(PROMPT, {}, hr_prompts=["a dog <lora:lin:1>"])
    assert [one.report.finished for one in newest(webui).run.passes] == [True, True]
    draw(PROMPT, {"start": 0.9})
    assert any("at all 4 evaluations" in text for text in newest(webui).run.comments)


@pytest.fixture
def count_tensors() -> Iterator[Any]:
    """How many are alive that were not so before."""
    gc.collect()
    gc.freeze()

    def count() -> int:
        gc.collect()
        return sum(type(one) is torch.Tensor for one in gc.get_objects())

    yield count
    gc.unfreeze()


def test_nothing_of_a_batch_stays_on_the_device(webui: Any, draw: Any, count_tensors: Any) -> None:
    """Of what a step has measured the maps alone, which are on the CPU."""
    alive: list[int] = []

    def look(params: Any) -> None:
        if params.denoiser.step == 0:
            alive.append(count_tensors())

    webui.before_call(look)
    draw([PROMPT] * 3, {}, n_iter=3, hr_prompts=[PROMPT])
    kept = 2 * 4 + 1  # a map for each step of both passes, and the batch's latents
    assert len(alive) == 6
    assert [after - before for before, after in zip(alive[1:], alive[3:], strict=False)] == [kept] * 3


def test_masks_and_pictures_of_others_are_no_pictures_of_the_run(webui: Any, draw: Any) -> None:
    webui.opts.return_mask = webui.opts.return_mask_composite = True
    _, p = draw([PROMPT] * 2, {}, mask_for_overlay=Image.new("RGB", (3, 3)))
    pictures = [one.image for one in newest(webui).run.pictures]
    assert len(p.processed.images) == 7 and [one.size for one in pictures] == [(8, 8), (8, 8)]
    webui.opts.return_mask_composite = False
    draw([PROMPT] * 2, {}, mask_for_overlay=Image.new("RGB", (3, 3)))
    assert [one.image.size for one in newest(webui).run.pictures] == [(8, 8), (8, 8)]


def test_a_hires_pass(webui: Any, draw: Any) -> None:
    draw(PROMPT, {}, hr_prompts=["a dog <lora:lin:1>"])
    record = newest(webui)
    assert passes(record) == [(0, False, 4), (0, True, 4)]
    assert [one.report.composed for one in record.run.passes] == [("te", "lin"), ("lin",)]
    assert record.run.pictures[0].image.size == (16, 16)


def test_a_refiner_is_a_pass_of_the_same_batch(webui: Any, draw: Any) -> None:
    second = webui.standin.new_model("second", 5)
    _, p = draw([PROMPT] * 2, {}, n_iter=2, refiner=second, refiner_at=3)
    assert p.comments == {}
    assert passes(newest(webui)) == [(0, False, 3), (0, False, 1), (1, False, 3), (1, False, 1)]


@pytest.mark.parametrize(("end", "wanted"), [("interrupted", [0]), ("skipped", [0, 1])])
def test_a_run_that_was_ended_is_kept_as_far_as_it_went(
    webui: Any, draw: Any, end: str, wanted: list[int]
) -> None:
    ended: list[bool] = []

    def end_it(params: Any) -> None:
        if params.denoiser.step == 1 and not ended:
            ended.append(True)
            setattr(webui.shared.state, end, True)

    webui.before_call(end_it)
    draw([PROMPT] * 2, {}, n_iter=2)
    record = newest(webui)
    assert passes(record) == [(0, False, 2), (1, False, 4)][: len(wanted)]
    assert record.run.passes[0].report.finished is False
    assert [one.batch for one in record.run.pictures] == wanted


def test_a_run_that_fell_back_is_kept_with_the_reason(webui: Any, draw: Any, failing_in_step: Any) -> None:
    failing_in_step(2)
    _, p = draw(PROMPT, {})
    record = newest(webui)
    assert passes(record) == [(0, False, 2)]
    (comment,) = record.run.comments
    assert "call 3 of 4 (the model is broken)" in comment and f"LoRAtorio: {comment}" in p.comments


def test_what_did_not_compose_is_not_kept(webui: Any, draw: Any, failing_in_step: Any) -> None:
    draw(PROMPT)
    draw(PROMPT, {"enabled": False})
    draw("a cat", {})
    draw(PROMPT, {"patch_size": 1000})
    failing_in_step(0)
    _, p = draw(PROMPT, {})
    assert any("the model is broken" in comment for comment in p.comments)
    assert webui.server.history.records() == ()


def test_every_copy_of_p_is_a_run(webui: Any, draw: Any) -> None:
    """X/Y/Z plot copies p for every cell, with all that hangs on it."""
    _, p = draw(PROMPT, {}, n_iter=1)
    for _ in range(2):
        webui.processing.process_images(copy.copy(p))
    records = webui.server.history.records()
    assert [passes(one) for one in records] == [[(0, False, 4)]] * 3
    assert len({id(one.report) for record in records for one in record.run.passes}) == 3


def test_both_tabs_keep_their_runs_in_one_place(webui: Any) -> None:
    for _ in range(2):
        webui.generate(webui.new_p(PROMPT, {}))
    assert [one.number for one in webui.server.history.records()] == [2, 1]


def test_without_history_nothing_is_converted(webui: Any, draw: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(PROMPT, {})
    assert webui.server.history.records()
    webui.opts.loratorio_history = 0
    converted: list[object] = []
    monkeypatch.setattr(Image.Image, "save", lambda *arguments: converted.append(arguments))
    _, p = draw(PROMPT, {})
    assert webui.server.history.records() == () and converted == [] and p.comments == {}


def test_a_failure_while_keeping_is_said_and_harms_nothing(
    webui: Any, draw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, before = draw(PROMPT, {})
    monkeypatch.setattr(Image.Image, "save", lambda *arguments: 1 / 0)
    picture, p = draw(PROMPT, {})
    assert (picture == wanted).all()
    assert [one.tobytes() for one in p.processed.images] == [one.tobytes() for one in before.processed.images]
    (comment,) = p.comments
    assert "could not be kept for the inspector (division by zero)" in comment
    assert comment in p.processed.comments
    assert webui.script_callbacks.errors == []
    assert len(webui.server.history.records()) == 1


def test_a_kept_run_holds_neither_model_nor_networks(webui: Any, draw: Any, instances: Any) -> None:
    routers, runs = instances(Router), instances(Run)
    draw(PROMPT, {}, hr_prompts=[PROMPT])
    gc.collect()
    assert min(len(routers), len(runs)) >= 2 and not any(one() for one in (*routers, *runs))
    assert passes(newest(webui)) == [(0, False, 4), (0, True, 4)]


def test_thousands_of_unknown_tags_are_said_in_a_few_sentences(webui: Any, draw: Any) -> None:
    unknown = "".join(f"<lora:no{number}:1>" for number in range(3000))
    _, p = draw(PROMPT + unknown, {})
    loaded = 0 if webui.name in ("forge", "reforge") else 2  # which load none where one is missing
    assert len(p.comments) < 20
    assert any(f"{3000 + 2 - loaded - 10} more networks" in comment for comment in p.comments)


def test_the_cost_knows_what_one_missing_network_does_to_the_others(webui: Any, draw: Any) -> None:
    prompt = PROMPT + "<lora:nobody:1>"
    said = webui.start_app(api=True).post("/loratorio/v1/estimate", json={"prompt": prompt}).json()
    _, p = draw(prompt, {})
    missing = [comment for comment in p.comments if "has not loaded" in comment]
    assert len(said["composed"]) == 3 - len(missing) and "nobody" in missing[-1]
    assert any("loads none of the prompt" in note for note in said["notes"]) is (len(missing) == 3)


def test_hooks_for_a_copy_of_a_running_generation_take_nothing_from_it(webui: Any, draw: Any) -> None:
    """ADetailer ends a copy of p before the first picture is shown, and begins another after the last."""
    wanted, plain = draw(PROMPT, {})
    script = webui.new_script()

    class Detailer(webui.scripts.Script):  # type: ignore[name-defined, misc]
        def post_sample(self, p: Any, ps: Any, *args: object) -> None:
            p.comment("LoRAtorio: said")
            processed = webui.processing.Processed(p, [])
            script.postprocess(copy.copy(p), processed)
            script.process(copy.copy(p), *args)

    picture, p = draw(PROMPT, {}, scripts=[script, Detailer()])
    assert torch.equal(picture, wanted)
    assert list(p.comments) == ["LoRAtorio: said"]
    assert p.extra_generation_params == plain.extra_generation_params
    assert len(webui.server.history.records()) == 2
