"""The recipe: every stage runs, stops early on bad input, and goes on where it was stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from loratorio_lab.main import main
from loratorio_lab.tools import LabTools
from loratorio_lab.world.concepts import CONCEPTS
from loratorio_lab.world.train import train


@pytest.mark.parametrize(
    ("seed", "workers", "named"), [(-1, 1, "seed is -1"), (2**31, 1, "seed is"), (0, 0, "workers is 0")]
)
def test_bad_arguments_are_refused_before_work(tmp_path: Path, seed: int, workers: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        train(tmp_path / "world", seed=seed, workers=workers, quick=True, report=lambda line: None)
    assert not (tmp_path / "world").exists()


@pytest.mark.slow
def test_a_quick_training_makes_every_file_and_keeps_finished_stages(tmp_path: Path) -> None:
    lines: list[str] = []
    scores = train(tmp_path, seed=3, workers=2, quick=True, report=lines.append)
    assert any(line.startswith("judge: epoch 1/1") for line in lines)
    assert any(line.startswith("star: round 1") for line in lines)
    assert json.loads((tmp_path / "scores.json").read_text()) == scores
    assert {path.stem for path in (tmp_path / "networks").iterdir()} == set(CONCEPTS)
    card = (tmp_path / "README.md").read_text()
    assert all(concept in card for concept in CONCEPTS)
    model = tmp_path / "model" / "unet" / "diffusion_pytorch_model.safetensors"
    stamps = {path: path.stat().st_mtime_ns for path in (model, tmp_path / "judge.safetensors")}
    train(tmp_path, seed=3, workers=2, quick=True, report=lines.append)
    assert stamps == {path: path.stat().st_mtime_ns for path in stamps}
    assert (
        json.loads((tmp_path / "scores.json").read_text())["seconds"]["networks"]
        >= scores["seconds"]["networks"]
    )
    with pytest.raises(ValueError, match="holds a world with seed 3, asked is 4"):
        train(tmp_path, seed=4, workers=2, quick=True, report=lines.append)
    with pytest.raises(ValueError, match="holds a world with recipe 'quick', asked is 'full'"):
        train(tmp_path, seed=3, workers=2, quick=False, report=lines.append)


def test_the_command_hands_its_options_over_and_can_be_interrupted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked: list[dict[str, Any]] = []

    def trained(out: Path, *, report: Any, **options: Any) -> None:
        asked.append({"out": out, **options})
        report("base: step 1")

    command = ["train-demo", "--out", "w", "--seed", "7", "--workers", "3", "--quick"]
    assert main(command, LabTools(train=trained)) == 0
    captured = capsys.readouterr()
    assert (captured.out.strip(), captured.err.strip()) == ("w", "base: step 1")
    assert asked == [{"out": Path("w"), "seed": 7, "workers": 3, "quick": True}]

    def interrupted(out: Path, **options: Any) -> None:
        raise KeyboardInterrupt

    assert main(["train-demo", "--out", "w"], LabTools(train=interrupted)) == 130
    assert "kept in w" in capsys.readouterr().err
