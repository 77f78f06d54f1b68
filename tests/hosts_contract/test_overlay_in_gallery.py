"""The picture of who spoke where beside the others, in both WebUIs, where the user wants it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from loratorio_ext.hosts import find
from loratorio_ext.hosts.webuis import postprocess
from loratorio_ext.run import Report
from loratorio_ext.server.words import Words

PROMPT = "a cat <lora:te:1> <lora:lin:1>"


def answer(p: Any) -> tuple[Any, ...]:
    """All of the WebUI's answer, pictures as bytes."""
    fields = {name: value for name, value in vars(p.processed).items() if name != "images"}
    pictures = [(one.tobytes(), one.size, json.dumps(one.info)) for one in p.processed.images]
    return pictures, fields


def test_off_by_default_and_then_the_answer_is_as_before(
    running: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(running.services, "save_picture", lambda *arguments: asked.append(arguments))
    _, p = running.draw([PROMPT] * 2, {})
    assert len(p.processed.images) == len(p.processed.infotexts) == 3
    running.opts.loratorio_history = 0
    _, without = running.draw([PROMPT] * 2, {})
    assert answer(p) == answer(without) and asked == []


def test_behind_all_others(running: Any) -> None:
    _, plain = running.draw([PROMPT] * 4, {}, n_iter=2)
    running.opts.loratorio_overlay = "gallery"
    _, p = running.draw([PROMPT] * 4, {}, n_iter=2)
    shown = p.processed.images
    assert len(shown) == len(p.processed.infotexts) == 5 + 4
    assert p.processed.index_of_first_image == 1
    assert [one.tobytes() for one in shown[:5]] == [one.tobytes() for one in plain.processed.images]
    assert p.processed.infotexts[:5] == plain.processed.infotexts
    assert p.processed.infotexts[5:] == p.processed.infotexts[1:5]
    assert [one.info["parameters"] for one in shown[5:]] == p.processed.infotexts[5:]
    # Enlarged, so that the legend below can be read.
    assert all(one.width >= 384 and one.height > one.width for one in shown[5:])
    assert len({one.tobytes() for one in shown[5:]}) > 1  # each is of its own picture
    assert [one.image.size for one in running.server.history.records()[0].run.pictures] == [(8, 8)] * 4


def test_lists_are_equally_long_where_masks_are_shown(running: Any) -> None:
    running.opts.loratorio_overlay, running.opts.return_mask = "gallery", True
    _, p = running.draw([PROMPT] * 2, {}, mask_for_overlay=Image.new("RGB", (3, 3)))
    assert len(p.processed.images) == len(p.processed.infotexts) == 5 + 2
    assert p.processed.infotexts[-2:] == p.processed.infotexts[1:3]
    assert all(one.width >= 384 for one in p.processed.images[-2:])


def test_no_infotext_in_pictures_where_the_user_wants_none(running: Any) -> None:
    running.opts.loratorio_overlay, running.opts.enable_pnginfo = "gallery", False
    _, p = running.draw(PROMPT, {})
    assert len(p.processed.images) == 2 and "parameters" not in p.processed.images[-1].info


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.png"))


@pytest.mark.parametrize(("where", "extra"), [("gallery", []), ("gallery and file", ["-loratorio"])])
def test_files_where_the_webui_saves_its_own(
    running: Any, tmp_path: Path, where: str, extra: list[str]
) -> None:
    running.opts.loratorio_overlay = where
    folder = tmp_path / "saved"
    folder.mkdir()
    _, p = running.draw(
        [PROMPT] * 4, {}, n_iter=2, seed=7, outpath_samples=str(folder), do_not_save_samples=False
    )
    pictures = [f"{place}-{7 + place}" for place in range(4)]
    assert names(folder) == sorted(f"{one}{suffix}.png" for one in pictures for suffix in ["", *extra])
    assert (p.iteration, p.batch_index) == (1, 1)


@pytest.mark.parametrize("fields", [{}, {"state": "interrupted"}, {"option": False}])
def test_no_file_where_the_webui_saves_none(running: Any, tmp_path: Path, fields: dict[str, Any]) -> None:
    running.opts.loratorio_overlay = "gallery and file"
    folder = tmp_path / "saved"
    folder.mkdir()
    running.opts.samples_save = fields.get("option", True)
    if "state" in fields:
        running.before_call(lambda params: setattr(running.webui.shared.state, "interrupted", True))
    _, p = running.draw(PROMPT, {}, outpath_samples=str(folder), do_not_save_samples=not fields)
    assert names(folder) == [] and len(p.processed.images) == 2


def test_scripts_of_the_list_get_the_pictures_that_they_count(running: Any, tmp_path: Path) -> None:
    running.opts.loratorio_overlay = "gallery and file"
    runner = running.webui.scripts.ScriptRunner([running.webui.script.LoRAtorio()])
    runner.selectable_scripts = [object()]
    fields = {"scripts": runner, "outpath_samples": str(tmp_path), "do_not_save_samples": False}
    _, p = running.draw(PROMPT, script_args=[{"enabled": True}], **fields)
    assert len(p.processed.images) == 1 and "0-1-loratorio.png" in names(tmp_path)
    runner.selectable_scripts = []
    _, p = running.draw(PROMPT, script_args=[{"enabled": True}], **fields)
    assert len(p.processed.images) == 2


def test_a_failure_is_said_and_leaves_the_answer(running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, wanted = running.draw([PROMPT] * 2, {})
    running.opts.loratorio_overlay = "gallery and file"
    calls: list[object] = []

    def failing(*arguments: Any) -> Any:
        calls.append(arguments)
        raise OSError("the disk is full")

    monkeypatch.setattr(running.services, "save_picture", failing)
    _, p = running.draw(
        [PROMPT] * 2, {}, do_not_save_samples=False, outpath_samples=str(running.webui.folder)
    )
    assert calls and [one.tobytes() for one in p.processed.images] == [
        one.tobytes() for one in wanted.processed.images
    ]
    assert p.processed.infotexts == wanted.processed.infotexts
    (comment,) = p.comments
    assert "who spoke where could not be made (the disk is full)" in comment
    assert running.server.history.records()[0].run.pictures


def test_no_map_no_overlay(running: Any) -> None:
    running.opts.loratorio_overlay = "gallery"
    _, p = running.draw(PROMPT, {"start": 1.0})
    assert len(p.processed.images) == len(p.processed.infotexts) == 1


def test_it_shows_the_pass_of_the_picture_that_says_most(running: Any) -> None:
    """The last of several that say as much; one that composed at fewer steps says less."""
    _, p = running.draw([PROMPT] * 2, {}, n_iter=2)
    first, second = running.server.history.records()[0].run.passes
    running.draw(PROMPT, {"end": 0.5})
    (little,) = running.server.history.records()[0].run.passes
    assert little.report.totals.steps == 4
    passes = [first, replace(little, batch=0), replace(second, hires=True), replace(first, batch=1)]
    passes.append(replace(little, batch=1))
    seen: list[Report] = []

    def overlay(picture: Image.Image, report: Report, place: int, words: Words) -> Image.Image:
        seen.append(report)
        return Image.new("RGB", (1, 1))

    running.opts.loratorio_overlay = "gallery"
    postprocess.Postprocess(find.this_webui().services, running.server, overlay)(p, p.processed, passes)
    assert [one is first.report for one in seen] == [True, True]
    assert len(p.processed.images) == 5
