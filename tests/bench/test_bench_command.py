"""`loratorio-lab bench`: what it writes, what it refuses, and that an interrupt keeps what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from loratorio_lab.bench import options, plan
from loratorio_lab.bench.agreement import Refused
from loratorio_lab.bench.measure import Figure, Measured
from loratorio_lab.bench.shapes import SHAPES
from loratorio_lab.bench.steps import steps_for
from loratorio_lab.bench.ways import OURS, PLAIN, WAYS
from loratorio_lab.main import main

COMMAND = ["bench", "--out", "b", "--rounds", "2", "--latent", "8", "--device", "cpu"]
THIRD = (1.0, 2.0, 3.0)
FIGURE = Figure("plain", "plain UNet, one call", 4, 4, THIRD, (1.0, 1.0, 1.0), 2.0, 1, 10**6, 0.0)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """No model is made: every measurement gives the same, and is noted; an exception put here is raised."""
    asked: list[Any] = []

    def measure_all(wanted: Any, *others: Any) -> Iterator[tuple[Any, Measured]]:
        for part in wanted:
            others[-1]()
            if asked and isinstance(asked[-1], BaseException):
                raise asked[-1]
            asked.append((part, *others[:-1]))
            refused = {"merge-and-back": Refused("it is wrong", True)} if part.rank == 13 else {}
            yield part, Measured("wall", 0.5, (FIGURE,), (), 0.001, 0.002, 0.1, 5, 7, refused)

    monkeypatch.setattr(plan, "measure_all", measure_all)
    return asked


def results(folder: str = "b") -> Any:
    return json.loads((Path(folder) / "results.json").read_text(encoding="utf-8"))


def test_a_real_measurement(capsys: Any) -> None:
    command = [*COMMAND, "--size", "embedded", "--networks", "3", "--rank", "4", "--threads", "1"]
    assert main(command) == 0
    captured = capsys.readouterr()
    assert "bench: round 5 of 5" in captured.err
    document = results()
    assert document["schema"] == "loratorio.bench"
    assert set(document["made_with"]) == {"loratorio", "python", "torch", "diffusers", "peft"}
    assert set(document["machine"]) == {"processor", "cores", "threads", "load", "device", "dtype", "date"}
    assert document["machine"]["threads"] == 1
    assert document["left_out"] == []
    (found,) = document["measured"]
    of = {"size": "embedded", "latent": 8, "networks": 3, "rank": 4, "layers": "linear", "pictures": 1}
    assert found["of"] == of
    assert found["clock"] == "processor"
    assert [one["name"] for one in found["ways"]] == list(WAYS)
    assert {one["rows"] for one in found["ways"]} == {8}
    assert [one["rows"] for one in found["steps"]] == [2, 8, 2, 2, 2, 2, 2, 5, 3.2, 6.4, 6.4]
    assert all(one["error"] < 1e-4 for one in found["ways"])
    table = Path("b/results.md").read_text(encoding="utf-8")
    assert table in captured.out
    for one in (*found["ways"], *found["steps"]):
        assert f"| {one['label']} |" in table
    assert "the model's own is 16" in table


def test_every_combination_is_measured_once_and_sizes_stay_together(measured: list[Any], capsys: Any) -> None:
    chosen = ["--size", "small", "embedded", "small", "--networks", "2", "1", "2", "--rank", "8", "4"]
    assert main([*COMMAND, *chosen, "--measure", "ways", "--ways", "merge-and-back"]) == 0
    combinations = [(part.size, part.rank, part.networks) for part, *_ in measured]
    assert combinations == [(s, r, n) for s in ("small", "embedded") for r in (4, 8) for n in (1, 2)]
    _, device, dtype, rounds, what, ways, steps = measured[0]
    assert (device.type, dtype, rounds, what, ways) == ("cpu", torch.float32, 2, "ways", ["merge-and-back"])
    assert steps == list(options.STEPS)
    assert len(results()["measured"]) == 8
    assert capsys.readouterr().out.count("## ") == 8


def test_an_interrupt_keeps_what_was_measured(
    measured: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    usual = plan.measure_all

    def interrupted(wanted: Any, *others: Any) -> Iterator[Any]:
        yield from usual(wanted[:2], *others)
        raise KeyboardInterrupt

    monkeypatch.setattr(plan, "measure_all", interrupted)
    assert main([*COMMAND, "--size", "embedded", "--networks", "1", "2", "3"]) == 130
    assert "2 of 3 measurements are kept in b" in capsys.readouterr().err
    assert [found["of"]["networks"] for found in results()["measured"]] == [1, 2]
    assert Path("b/results.md").read_text(encoding="utf-8").count("## ") == 2


def test_an_interrupt_before_that_keeps_nothing(measured: list[Any], capsys: Any) -> None:
    measured.append(KeyboardInterrupt())
    assert main(COMMAND) == 130
    assert "nothing was kept" in capsys.readouterr().err
    assert not Path("b/results.json").exists()


def test_a_way_that_is_wrong_is_a_failure(measured: list[Any], capsys: Any) -> None:
    assert main([*COMMAND, "--rank", "13"]) == 1
    captured = capsys.readouterr()
    assert "failed: other predictions than our router's by merge-and-back" in captured.err
    assert "merge into the weights and back" in captured.out
    assert "not timed, because it is wrong." in captured.out


def test_what_does_not_fit_into_memory_is_left_out_and_said(
    measured: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(plan, "available_bytes", lambda device: 10**9)
    assert main([*COMMAND, "--size", "embedded", "sdxl"]) == 0
    captured = capsys.readouterr()
    assert "left out: sdxl, latent 8" in captured.err
    assert "1.0 GB are there" in captured.err
    assert [part.size for part, *_ in measured] == ["embedded"]
    assert len(results()["left_out"]) == 1
    assert "Left out:" in captured.out
    assert main([*COMMAND, "--size", "sdxl", "--out", "other"]) == 2
    assert not Path("other").exists()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--size", "sd3"], "invalid choice"),
        (["--networks", "0"], "1 to 32"),
        (["--networks", "1", "x"], "1 to 32"),
        (["--rank", "257"], "1 to 256"),
        (["--rounds", "1"], "2 to 1000"),
        (["--layers", "all"], "invalid choice"),
        (["--latent", "4"], "8 to 512"),
        (["--latent", "10"], "multiple of 4"),
        (["--size", "sd15", "--latent", "12"], "multiple of 8"),
        (["--ways", "plain"], "invalid choice"),
        (["--measure", "memory"], "invalid choice"),
        (["--threads", "0"], "1 to 1024"),
        (["--device", "abacus"], "Unknown device"),
        (["--device", "cuda:9"], "not available"),
        (["--dtype", "int8"], "invalid choice"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_input_is_refused_before_any_work(
    wrong: list[str], said: str, measured: list[Any], capsys: Any
) -> None:
    assert main([*COMMAND, *wrong]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert measured == []
    assert not Path("b").exists()


def test_a_place_that_cannot_be_written(measured: list[Any], capsys: Any) -> None:
    Path("taken").write_text("a file", encoding="utf-8")
    assert main([*COMMAND, "--out", "taken"]) == 2
    assert "cannot write" in capsys.readouterr().err
    assert measured == []


def test_the_options_know_every_size_and_way() -> None:
    assert tuple(SHAPES) == options.SIZES
    assert (PLAIN, OURS, *options.WAYS) == tuple(WAYS)
    assert ("plain", *options.STEPS) == tuple(step.name for step in steps_for(4))
