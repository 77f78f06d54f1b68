"""`loratorio generate` against a host that keeps the contract."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from PIL import Image

from loratorio_ext.cli.main import main
from loratorio_ext.cli.writing import picture_parameters
from loratorio_ext.hosts.diffusers_host import Request
from loratorio_ext.run import Method
from loratorio_ext.settings import Settings

PROMPT = "a red star <lora:star:1> <lora:moon:0.5>"


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_pictures_are_written_and_named(toys: Any, world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", PROMPT, "--seed", "5", "--batch", "2", "--out", "made"], toys.tools) == 0
    assert lines(capsys) == ["made/5-loratorio.png", "made/6-loratorio.png"]
    assert sorted(path.name for path in Path("made").iterdir()) == ["5-loratorio.png", "6-loratorio.png"]
    assert toys.opened == [(world / "model", None, None, True, None)]
    request = toys.host.requests[0]
    assert (request.seeds, request.steps, request.cfg) == ((5, 6), 20, 4.0)
    assert request.network_dir == world / "networks"
    assert request.settings == Settings(enabled=True)


def test_every_option_reaches_the_request(toys: Any) -> None:
    Path("nets").mkdir()
    Path("model").mkdir()
    given = (
        "--negative dark --method switch --switch-every 3 --model model --lora-dir nets --device cpu"
        " --dtype float32 --offline"
        " --seed 9 --batch 2 --count 2 --steps 4 --cfg 1 --sampler Euler --width 64 --height 72"
        " --patch-size 4 --temperature 0.5 --top-k 2 --top-k-scope patch --recenter 1 --compare denoised"
        " --start 0.1 --end 0.9 --rescan 2 --batch-rows 8 --weighting difference --gain 0.7 --reuse 3"
    )
    assert main(["generate", PROMPT, *given.split()], toys.tools) == 0
    assert toys.opened == [(Path("model"), "cpu", "float32", True, None)]
    first, second = toys.host.requests
    assert (first.seeds, second.seeds) == ((9, 10), (11, 12))
    assert (first.prompts, first.negative_prompt) == ([PROMPT], "dark")
    assert (first.steps, first.cfg, first.sampler, first.width, first.height) == (4, 1.0, "Euler", 64, 72)
    assert (first.method, first.switch_every, first.network_dir) == ("switch", 3, Path("nets"))
    assert first.settings == Settings(
        enabled=True,
        patch_size=4,
        temperature=0.5,
        weighting="difference",
        gain=0.7,
        top_k=2,
        top_k_scope="patch",
        recenter=1.0,
        compare="denoised",
        start=0.1,
        end=0.9,
        rescan=2,
        reuse=3,
        batch_rows=8,
    )


def test_another_model_gets_the_usual_steps_and_scale(toys: Any) -> None:
    Path("model").mkdir()
    assert main(["generate", "a star", "--model", "model"], toys.tools) == 0
    assert (toys.host.requests[0].steps, toys.host.requests[0].cfg) == (30, 7.0)
    assert toys.opened[0][3] is False


def test_a_single_file_gets_its_configuration(toys: Any) -> None:
    Path("one.safetensors").touch()
    assert main(["generate", "a star", "--model", "one.safetensors", "--config", "family"], toys.tools) == 0
    assert toys.opened == [(Path("one.safetensors"), None, None, False, Path("family"))]


@pytest.mark.parametrize("model", [[], ["--model", "model"]], ids=["embedded", "folder"])
def test_a_configuration_for_a_model_that_has_one_is_refused(
    model: list[str], toys: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("model").mkdir()
    assert main(["generate", "a star", *model, "--config", "family"], toys.tools) == 2
    assert "--config family" in capsys.readouterr().err
    assert toys.opened == []


def test_tags_without_a_folder_are_told_by_the_option(toys: Any, capsys: pytest.CaptureFixture[str]) -> None:
    Path("model").mkdir()
    assert main(["generate", PROMPT, "--model", "model"], toys.tools) == 2
    told = capsys.readouterr().err
    assert "'star'" in told and "--lora-dir" in told and "network_dir" not in told
    assert toys.opened == []


def test_a_picture_is_never_written_over_unless_it_was_named(
    toys: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for expected in ("made/1-loratorio.png", "made/1-loratorio-2.png", "made/1-loratorio-3.png"):
        assert main(["generate", PROMPT, "--out", "made"], toys.tools) == 0
        assert lines(capsys) == [expected]
    for _ in range(2):
        assert main(["generate", PROMPT, "--out", "made/mine.png"], toys.tools) == 0
        assert lines(capsys) == ["made/mine.png"]
    assert len(list(Path("made").iterdir())) == 4


@pytest.mark.parametrize("name", ["run.1", "v1.5", "a.b/2026.01"])
def test_a_new_folder_may_have_a_dot(name: str, toys: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", PROMPT, "--out", name], toys.tools) == 0
    assert lines(capsys) == [f"{name}/1-loratorio.png"]


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "new/a.webp"])
def test_pictures_of_another_format_are_refused(
    name: str, toys: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", PROMPT, "--out", name], toys.tools) == 2
    assert name in capsys.readouterr().err
    assert toys.opened == []


def test_the_picture_holds_its_parameters(toys: Any) -> None:
    text = parameters(PROMPT, "--temperature", "0.7", "--patch-size", "4", toys=toys)
    assert text.startswith(PROMPT)
    assert "Seed: 1" in text
    assert Settings.from_infotext(text) == Settings(enabled=True, temperature=0.7, patch_size=4)


def parameters(*arguments: str, toys: Any) -> str:
    assert main(["generate", *arguments, "--out", "a.png"], toys.tools) == 0
    with Image.open("a.png") as image:
        return str(image.info["parameters"])


@pytest.mark.parametrize("window", [["--start", "0.99"], ["--start", "0.5", "--end", "0.5"]])
def test_a_picture_whose_steps_were_all_merged_does_not_pass_as_composed(
    window: list[str], toys: Any
) -> None:
    text = parameters(PROMPT, "--steps", "3", *window, toys=toys)
    assert "Networks combined by: merge" in text
    assert Settings.from_infotext(text).enabled is False


def test_the_parameters_name_model_sampler_and_period(toys: Any) -> None:
    text = parameters(PROMPT, "--method", "switch", "--switch-every", "3", toys=toys)
    assert {"Model: model", "Sampler: Own", "Switch every: 3"} <= set(text.splitlines()[-1].split(", "))
    Path("a, b.safetensors").touch()
    text = parameters("x", "--model", "a, b.safetensors", "--sampler", "Euler a", toys=toys)
    assert 'Sampler: Euler a, Model: "a, b"' in text
    assert "Switch every" not in text


def test_a_picture_without_networks_says_nothing_of_them(toys: Any) -> None:
    text = parameters("a red star", toys=toys)
    assert "combined" not in text and "LoRAtorio" not in text


@pytest.mark.parametrize("method", ["base", "merge", "switch", "composite"])
def test_a_usual_way_is_named(method: str, toys: Any) -> None:
    text = parameters(PROMPT, "--method", method, toys=toys)
    assert f"Networks combined by: {method}" in text
    assert "LoRAtorio" not in text


@pytest.mark.parametrize("method", [*get_args(Method)])
def test_every_method_of_the_host_can_be_written_down(method: Any, toys: Any, world: Path) -> None:
    request = Request(
        [PROMPT], steps=2, seeds=(1,), settings=Settings(enabled=True), method=method, network_dir=world
    )
    text = picture_parameters(request, toys.host.generate(request), world / "model", 1, (64, 64))
    assert f"Networks combined by: {method}" in text


def test_hashes_of_networks_are_written_as_the_webui_writes_them(toys: Any, world: Path) -> None:
    request = Request([PROMPT], steps=2, seeds=(1,), settings=Settings(), network_dir=world)
    result = replace(toys.host.generate(request), hashes={"a, b": "0123456789ab", "moon": "ba9876543210"})
    text = picture_parameters(request, result, world / "model", 1, (64, 64))
    assert text.endswith(', Lora hashes: "a b: 0123456789ab, moon: ba9876543210"')
    assert "Lora hashes" not in picture_parameters(
        request, replace(result, hashes={}), world / "model", 1, (64, 64)
    )


def test_the_report_says_what_happened(toys: Any) -> None:
    asked = ["generate", PROMPT, "--steps", "3", "--looks", "0", "--report", "notes/report.json"]
    assert main(asked, toys.tools) == 0
    report = json.loads(Path("notes/report.json").read_text("utf-8"))
    assert report["schema"] == "loratorio.report"
    assert report["composed"] == ["star", "moon"]
    assert report["totals"]["rows"] == 3 * (2 + 2)
    assert report["finished"] is True


def test_progress_is_lines_without_a_terminal_and_nothing_when_quiet(
    toys: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["generate", PROMPT, "--steps", "8"], toys.tools) == 0
    told = capsys.readouterr().err.splitlines()
    assert told == [f"seed 1: step {step} of 8" for step in (2, 4, 6, 8)]
    assert main(["generate", PROMPT, "--quiet"], toys.tools) == 0
    assert capsys.readouterr().err == ""


def test_a_terminal_gets_a_bar(
    toys: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["generate", PROMPT, "--steps", "8"], toys.tools) == 0
    assert "8/8" in capsys.readouterr().err


def test_ctrl_c_keeps_what_is_finished_and_says_so(toys: Any, capsys: pytest.CaptureFixture[str]) -> None:
    toys.host.fail_at, toys.host.error = (2, 3), KeyboardInterrupt()
    assert main(["generate", PROMPT, "--out", "made", "--count", "3", "--batch", "2"], toys.tools) == 130
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["made/1-loratorio.png", "made/2-loratorio.png"]
    assert "kept 2 finished pictures in made" in captured.err.splitlines()[-1]
    assert len(list(Path("made").iterdir())) == 2


def test_ctrl_c_before_the_first_picture(toys: Any, capsys: pytest.CaptureFixture[str]) -> None:
    toys.host.fail_at, toys.host.error = (1, 0), KeyboardInterrupt()
    assert main(["generate", PROMPT, "--quiet", "--out", "made"], toys.tools) == 130
    assert "nothing was kept" in capsys.readouterr().err
    assert list(Path("made").iterdir()) == []


def test_warnings_of_the_run_are_told_even_when_quiet(toys: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", PROMPT, "--quiet", "--rescan", "4", "--looks", "0"], toys.tools) == 0
    assert "rescan = 4 has no effect" in capsys.readouterr().err
