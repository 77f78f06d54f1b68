"""`loratorio-lab evaluate`: the table, and that an interrupt costs nothing but the batch being drawn."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loratorio_lab.main import main

COMMAND = [
    "evaluate",
    "--out",
    "e",
    "--networks",
    "2",
    "1",
    "--pictures",
    "10",
    "--batch",
    "4",
    "--steps",
    "2",
]


def test_every_method_draws_the_same_tasks(model: Any, tools: Any, capsys: Any) -> None:
    assert main(COMMAND, tools) == 0
    out = capsys.readouterr().out
    assert out.count("\n| 1 |") == out.count("\n| 2 |") == 5
    requests = model.requests
    for method in ("base", "merge", "switch", "composite", "loratorio"):
        mine = [r for r in requests if r.method == method]
        assert sum(len(r.prompts) for r in mine) == 20
        first = [(r.prompts, r.seeds) for r in requests if r.method == "base"]
        assert [(r.prompts, r.seeds) for r in mine] == first
    results = json.loads(Path("e/results.json").read_text())
    cells = {(cell["arm"], cell["networks"]): cell for cell in results["cells"]}
    assert cells["loratorio", 2]["right"]["mean"] == 1.0
    assert cells["loratorio", 2]["ratio"] == 2.0
    assert 0 < cells["merge", 1]["presence"]["mean"] < 1
    assert Path("e/results.md").read_text() in out


def test_switch_moves_on_when_it_was_told_to(model: Any, tools: Any) -> None:
    assert main([*COMMAND, "--switch-every", "3", "--methods", "switch"], tools) == 0
    assert {request.switch_every for request in model.requests} == {3}


def test_every_way_has_the_sampler_that_was_named(model: Any, tools: Any) -> None:
    assert main([*COMMAND, "--sampler", "Heun"], tools) == 0
    assert {request.sampler for request in model.requests} == {"Heun"}
    assert main([*COMMAND, "--out", "usual"], tools) == 0
    assert model.requests[-1].sampler is None


@pytest.mark.parametrize("batch", [1, 2, 6, 13])
def test_an_interrupt_loses_no_picture_and_draws_none_twice(
    batch: int, model: Any, tools: Any, capsys: Any
) -> None:
    assert main([*COMMAND, "--out", "whole"], tools) == 0
    whole, expected = json.loads(Path("whole/results.json").read_text()), model.drawn
    model.requests.clear()

    model.fails_at = batch
    assert main(COMMAND, tools) == 130
    kept = len(Path("e/answers.jsonl").read_text().splitlines()) - 1
    assert f"{kept} pictures are kept" in capsys.readouterr().err
    before = model.drawn[:kept]
    model.requests.clear()
    model.fails_at = 0
    assert main(COMMAND, tools) == 0
    assert before + model.drawn == expected
    assert f"{kept} pictures are there already" in capsys.readouterr().err or kept == 0
    assert json.loads(Path("e/results.json").read_text())["cells"] == whole["cells"]

    model.requests.clear()
    assert main(COMMAND, tools) == 0
    assert model.requests == []


def test_workers_draw_what_one_process_draws(model: Any, tools: Any) -> None:
    assert main([*COMMAND, "--out", "whole"], tools) == 0
    asked = []

    def over_workers(open_drawing: Any, workers: int, note: Any) -> Any:
        asked.append(workers)
        return lambda batches: map(open_drawing(), reversed(batches))

    assert main([*COMMAND, "--workers", "3"], replace(tools, over_workers=over_workers)) == 0
    assert asked == [3]
    whole, spread = (json.loads(Path(out, "results.json").read_text()) for out in ("whole", "e"))
    assert spread["cells"] == whole["cells"]


def test_workers_without_ray_are_refused(
    model: Any, tools: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([*COMMAND, "--workers", "2"], tools) == 2
    assert "pip install 'loratorio[ray]'" in capsys.readouterr().err
    assert (model.requests, Path("e").exists()) == ([], False)


def test_other_settings_do_not_mix(model: Any, tools: Any, capsys: Any) -> None:
    assert main(COMMAND, tools) == 0
    asked = len(model.requests)
    assert main([*COMMAND, "--temperature", "0.5"], tools) == 2
    assert "another arms" in capsys.readouterr().err
    assert len(model.requests) == asked


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--networks", "5"], "1 to 4"),
        (["--methods", "mean"], "invalid choice"),
        (["--world", "nowhere"], "holds no world"),
        (["--pictures", "0"], "1 to 100000"),
    ],
)
def test_wrong_input_is_refused_before_any_work(
    more: list[str], words: str, model: Any, tools: Any, capsys: Any
) -> None:
    assert main([*COMMAND, *more], tools) == 2
    assert words in capsys.readouterr().err
    assert model.requests == []
    assert not Path("e").exists()


def test_two_worlds_of_one_name_are_refused(model: Any, tools: Any, world: Path, capsys: Any) -> None:
    (world / "judge.safetensors").write_bytes(b"")
    assert main([*COMMAND, "--world", str(world), "--world", str(world)], tools) == 2
    assert "two worlds are called 'demo'" in capsys.readouterr().err
