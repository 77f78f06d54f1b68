"""The tab: what its controls are answered, its files, and that gradio builds it."""

from __future__ import annotations

import io
import json
import math
import os
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from PIL import Image

from loratorio_ext.server.history import FinishedRun, PassRecord, Record
from loratorio_ext.server.options import Options
from loratorio_ext.ui.inspector import tab
from loratorio_ext.ui.inspector.tab import Controls, build_inspector, files_of, page_of

Keep = Callable[[FinishedRun], Record]


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def test_before_the_first_run_there_is_a_friendly_page(bench: Any) -> None:
    page = page_of(bench.server, Controls())
    assert (page.runs, page.run, page.passes, page.last_step) == ((), None, (), 1)
    assert "There is no run to look at yet" in page.html
    assert files_of(bench.server, Controls()) == []
    bench.options = Options(history=0)
    assert "keeps no runs" in page_of(bench.server, Controls()).html


def test_the_newest_run_comes_first(bench: Any, keep: Keep, make: SimpleNamespace) -> None:
    keep(make.finished(None, "the first"))
    keep(make.finished(None, "a  second\n<lora:cat:1> one" + " word" * 40))
    page = page_of(bench.server, Controls())
    assert page.run == page.runs[0]
    assert page.runs[0].startswith("2 · ")
    assert "a second one word" in page.runs[0]
    assert page.runs[0].endswith("…")
    assert len(page.runs[0]) < 90
    assert "the first" in page_of(bench.server, Controls(run=page.runs[1])).html


def test_a_forgotten_run_is_said_to_be_gone(bench: Any, keep: Keep, make: SimpleNamespace) -> None:
    keep(make.finished(None))
    label = page_of(bench.server, Controls()).run
    keep(make.finished(None))
    keep(make.finished(None))  # the history holds two
    page = page_of(bench.server, Controls(run=label))
    assert "Run 1 is no longer kept" in page.html
    assert page.run is None
    assert len(page.runs) == 2
    assert files_of(bench.server, Controls(run=label)) == []


def test_the_controls_follow_the_run(
    bench: Any, keep: Keep, real_run: FinishedRun, make: SimpleNamespace
) -> None:
    hires = make.report(["a", "b"], [make.step(0, make.halves(), image_of=(0,))])
    keep(FinishedRun(real_run.prompt, "", real_run.pictures, (*real_run.passes, PassRecord(0, True, hires))))
    page = page_of(bench.server, Controls())
    assert page.pictures == ("1 · seed 1", "2 · seed 2")
    assert page.passes == ("1 · pass · 6 steps", "2 · hires pass · 1 steps")
    assert page.last_step == 6
    other = page_of(bench.server, Controls(page.run, page.pictures[1], page.passes[1], 5.0, 0.5))
    assert (other.picture, other.sampling_pass) == (page.pictures[1], page.passes[1])
    assert (other.step, other.last_step) == (1, 1)
    updates = tab.updates_of(page)
    assert updates[2]["visible"] is True
    assert updates[3]["maximum"] == 6


@pytest.mark.parametrize("nothing", [None, "", "abc", [], float("nan"), "999999999999999999999"])
def test_controls_that_are_not_ready_do_no_harm(
    bench: Any, keep: Keep, real_run: FinishedRun, nothing: object
) -> None:
    keep(real_run)
    page = page_of(bench.server, Controls(nothing, nothing, nothing, nothing, nothing))
    assert (page.picture, page.step) == ("1 · seed 1", 0)


def test_files(bench: Any, keep: Keep, real_run: FinishedRun) -> None:
    keep(real_run)
    report_file, archive_file = files_of(bench.server, Controls(step=2))
    assert json.loads(Path(report_file).read_text("utf-8")) == real_run.passes[0].report.to_dict()
    with zipfile.ZipFile(archive_file) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        sizes = {name: Image.open(io.BytesIO(archive.read(name))).size for name in names}
    weights = ["weight-A-star.png", "weight-B-grid.png", "weight-C-moon.png"]
    assert names == ["picture.png", "who-spoke-where.png", *weights]
    assert sizes["who-spoke-where.png"][1] > sizes["weight-A-star.png"][1]
    assert "step-2" in archive_file


def test_names_of_files_are_tame(bench: Any, keep: Keep, make: SimpleNamespace) -> None:
    keep(make.finished(make.report(["../../etc/x", "日本"], [make.step(0, make.halves())])))
    with zipfile.ZipFile(files_of(bench.server, Controls())[1]) as archive:
        names = archive.namelist()
    assert names[2:] == ["weight-A-etc_x.png", "weight-B-network.png"]


def test_old_folders_of_downloads_are_removed(
    bench: Any, keep: Keep, make: SimpleNamespace, tmp_path: Path
) -> None:
    keep(make.finished(None))
    for age in range(12):
        folder = tmp_path / f"{tab.PREFIX}{age}"
        folder.mkdir()
        (folder / "file").write_text("x")
        os.utime(folder, (1e9 - age, 1e9 - age))
    (tmp_path / "other").mkdir()
    (tmp_path / f"{tab.PREFIX}link").symlink_to(tmp_path / "other")
    files_of(bench.server, Controls())
    left = [path for path in tmp_path.glob(f"{tab.PREFIX}*") if not path.is_symlink()]
    assert len(left) == tab.KEPT_FOLDERS
    assert (tmp_path / f"{tab.PREFIX}0").is_dir()
    assert not (tmp_path / f"{tab.PREFIX}11").exists()
    assert (tmp_path / "other").is_dir()
    tab.remove_old_folders(tmp_path / "not there")


def test_gradio_builds_it(bench: Any, keep: Keep, real_run: FinishedRun) -> None:
    keep(real_run)
    with gr.Blocks() as blocks:
        build_inspector(bench.server)
        build_inspector(bench.server, "second")
    ids = [one.elem_id for one in blocks.blocks.values() if getattr(one, "elem_id", None)]
    assert len(ids) == len(set(ids)) == 18
    assert sum(one.startswith("loratorio_inspector_") for one in ids) == 9
    for one in blocks.blocks.values():
        if isinstance(one, gr.Dropdown | gr.Slider):
            assert one.label
            assert one.info
    slider = next(one for one in blocks.blocks.values() if one.elem_id == "loratorio_inspector_step")
    assert (slider.minimum, slider.maximum, slider.value) == (0, 6, 0)


def test_gradio_builds_it_in_another_language(bench: Any) -> None:
    bench.language |= {"Run": "Lauf", "There is no run to look at yet": "Noch nichts"}
    with gr.Blocks() as blocks:
        build_inspector(bench.server, words=bench.server.words())
    assert "Lauf" in [getattr(one, "label", None) for one in blocks.blocks.values()]
    assert any("Noch nichts" in str(getattr(one, "value", "")) for one in blocks.blocks.values())


def test_a_webui_s_file_of_start_values_has_english_keys(bench: Any) -> None:
    bench.language |= {"Run": "Lauf", "Strength of colors": "Stärke"}
    bench.language |= {"Refresh and show the newest run": "Neu"}
    with gr.Blocks() as blocks:
        build_inspector(bench.server)
    labels = [getattr(one, "label", None) for one in blocks.blocks.values()]
    assert "Run" in labels and "Strength of colors" in labels
    # A WebUI's page does not translate texts with a pictograph.
    assert "🔄 Neu" in [one.value for one in blocks.blocks.values() if isinstance(one, gr.Button)]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.tuples(JSON, JSON, JSON, JSON, JSON))
@example(values=(10**5000, 10**5000, 10**5000, 10**400, 10**400))
@example(values=(None, None, None, math.inf, -math.inf))
def test_any_values_of_the_controls_give_a_page(
    bench: Any, make: SimpleNamespace, values: tuple[object, ...]
) -> None:
    if not bench.history.records():
        bench.history.add(make.finished(make.report(["a", "b"], [make.step(0, make.halves())])))
    page = page_of(bench.server, Controls(*values))
    assert 0 <= page.step <= page.last_step
    assert page.run in (None, *page.runs) and page.html


def test_every_picture_of_a_download_is_a_picture(bench: Any, keep: Keep, make: SimpleNamespace) -> None:
    keep(make.finished(make.report(["a"], [make.step(0, mode="merged")])))
    with zipfile.ZipFile(files_of(bench.server, Controls())[1]) as archive:
        assert archive.namelist() == ["picture.png"]
        assert (np.asarray(Image.open(io.BytesIO(archive.read("picture.png")))) == 120).all()
