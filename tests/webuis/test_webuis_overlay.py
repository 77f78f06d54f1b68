"""The picture of who spoke where beside the others, in both WebUIs, where the user wants it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from loratorio_ext.run import Report

PROMPT = "a cat <lora:te:1> <lora:lin:1>"


def shown(p: Any) -> list[bytes]:
    return [one.tobytes() for one in p.processed.images]


def answer(p: Any) -> tuple[Any, ...]:
    """All of the WebUI's answer, pictures as bytes."""
    fields = {name: value for name, value in vars(p.processed).items() if name != "images"}
    pictures = [(one.tobytes(), one.size, json.dumps(one.info)) for one in p.processed.images]
    return pictures, fields


def test_off_by_default_and_then_the_answer_is_as_before(
    webui: Any, draw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(webui.images, "save_image", lambda *arguments, **named: asked.append(arguments))
    _, p = draw([PROMPT] * 2, {})
    assert len(p.processed.images) == len(p.processed.infotexts) == 3
    webui.opts.loratorio_history = 0
    _, without = draw([PROMPT] * 2, {})
    assert answer(p) == answer(without) and asked == []


def test_behind_all_others(webui: Any, draw: Any) -> None:
    _, plain = draw([PROMPT] * 4, {}, n_iter=2)
    webui.opts.loratorio_overlay = "gallery"
    _, p = draw([PROMPT] * 4, {}, n_iter=2)
    pictures = p.processed.images
    assert len(pictures) == len(p.processed.infotexts) == 5 + 4
    assert p.processed.index_of_first_image == 1
    assert shown(p)[:5] == shown(plain)
    assert p.processed.infotexts[:5] == plain.processed.infotexts
    assert p.processed.infotexts[5:] == p.processed.infotexts[1:5]
    assert [one.info["parameters"] for one in pictures[5:]] == p.processed.infotexts[5:]
    # Enlarged, so that the legend below can be read.
    assert all(one.width >= 384 and one.height > one.width for one in pictures[5:])
    assert len(set(shown(p)[5:])) > 1  # each is of its own picture
    assert [one.image.size for one in webui.server.history.records()[0].run.pictures] == [(8, 8)] * 4


def test_lists_are_equally_long_where_masks_are_shown(webui: Any, draw: Any) -> None:
    webui.opts.loratorio_overlay, webui.opts.return_mask = "gallery", True
    _, p = draw([PROMPT] * 2, {}, mask_for_overlay=Image.new("RGB", (3, 3)))
    assert len(p.processed.images) == len(p.processed.infotexts) == 5 + 2
    assert p.processed.infotexts[-2:] == p.processed.infotexts[1:3]
    assert all(one.width >= 384 for one in p.processed.images[-2:])


def test_no_infotext_in_pictures_where_the_user_wants_none(webui: Any, draw: Any) -> None:
    webui.opts.loratorio_overlay, webui.opts.enable_pnginfo = "gallery", False
    _, p = draw(PROMPT, {})
    assert len(p.processed.images) == 2 and "parameters" not in p.processed.images[-1].info


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.png"))


@pytest.mark.parametrize(("where", "extra"), [("gallery", []), ("gallery and file", ["-loratorio"])])
def test_files_where_the_webui_saves_its_own(
    webui: Any, draw: Any, tmp_path: Path, where: str, extra: list[str]
) -> None:
    webui.opts.loratorio_overlay = where
    folder = tmp_path / "saved"
    folder.mkdir()
    _, p = draw([PROMPT] * 4, {}, n_iter=2, seed=7, outpath_samples=str(folder), do_not_save_samples=False)
    pictures = [f"{place}-{7 + place}" for place in range(4)]
    assert names(folder) == sorted(f"{one}{suffix}.png" for one in pictures for suffix in ["", *extra])
    assert (p.iteration, p.batch_index) == (1, 1)


@pytest.mark.parametrize("fields", [{}, {"state": "interrupted"}, {"option": False}])
def test_no_file_where_the_webui_saves_none(
    webui: Any, draw: Any, tmp_path: Path, fields: dict[str, Any]
) -> None:
    webui.opts.loratorio_overlay = "gallery and file"
    folder = tmp_path / "saved"
    folder.mkdir()
    webui.opts.samples_save = fields.get("option", True)
    if "state" in fields:
        webui.before_call(lambda params: setattr(webui.shared.state, "interrupted", True))
    _, p = draw(PROMPT, {}, outpath_samples=str(folder), do_not_save_samples=not fields)
    assert names(folder) == [] and len(p.processed.images) == 2


def test_scripts_of_the_list_get_the_pictures_that_they_count(webui: Any, draw: Any, tmp_path: Path) -> None:
    webui.opts.loratorio_overlay = "gallery and file"
    runner = webui.scripts.ScriptRunner([webui.new_script()])
    runner.selectable_scripts = [object()]
    fields = {"scripts": runner, "outpath_samples": str(tmp_path), "do_not_save_samples": False}
    _, p = draw(PROMPT, script_args=[{"enabled": True}], **fields)
    assert len(p.processed.images) == 1 and "0-1-loratorio.png" in names(tmp_path)
    runner.selectable_scripts = []
    _, p = draw(PROMPT, script_args=[{"enabled": True}], **fields)
    assert len(p.processed.images) == 2


def test_a_failure_is_said_and_leaves_the_answer(
    webui: Any, draw: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, wanted = draw([PROMPT] * 2, {})
    webui.opts.loratorio_overlay = "gallery and file"
    original = webui.images.save_image
    calls: list[object] = []

    def failing(*arguments: Any, suffix: str = "", **named: Any) -> Any:
        if not suffix:
            return original(*arguments, **named)
        calls.append(arguments)
        raise OSError("the disk is full")

    monkeypatch.setattr(webui.images, "save_image", failing)
    fields = {"do_not_save_samples": False, "outpath_samples": str(webui.folder)}
    _, p = draw([PROMPT] * 2, {}, **fields)
    assert calls and shown(p) == shown(wanted)
    assert p.processed.infotexts == wanted.processed.infotexts
    (comment,) = p.comments
    assert "who spoke where could not be made (the disk is full)" in comment
    assert webui.server.history.records()[0].run.pictures


def test_no_map_no_overlay(webui: Any, draw: Any) -> None:
    webui.opts.loratorio_overlay = "gallery"
    _, p = draw(PROMPT, {"start": 1.0})
    assert len(p.processed.images) == len(p.processed.infotexts) == 1


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, [0, 1]),
        ({"refiner_at": 1}, [1, 3]),  # which composed at one step before the refiner, and at three after it
        ({"refiner_at": 3}, [0, 2]),
        ({"hr_prompts": [PROMPT]}, [1, 3]),  # of passes that say as much the last
    ],
)
def test_it_shows_the_pass_of_the_picture_that_says_most(
    webui: Any, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any], shown: list[int]
) -> None:
    seen: list[Report] = []

    def overlay(picture: Image.Image, *about: Any) -> Image.Image:
        seen.extend(one for one in about if isinstance(one, Report))
        return Image.new("RGB", (1, 1))

    monkeypatch.setattr(webui.script, "overlay_with_legend", overlay)
    webui.opts.loratorio_overlay = "gallery"
    if "refiner_at" in fields:
        fields = {**fields, "refiner": webui.standin.new_model("second", 5)}
    p = webui.new_p([PROMPT] * 2, {}, n_iter=2, **fields)
    webui.generate(p)
    passes = webui.server.history.records()[0].run.passes
    assert [one.report for one in passes if any(one.report is report for report in seen)] == seen
    assert [place for place, one in enumerate(passes) if one.report in seen] == shown
    assert len(p.processed.images) == 3 + 2
