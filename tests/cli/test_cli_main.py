"""Exit codes, messages, help: what scripts and people see of the command line."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from loratorio_ext import __version__
from loratorio_ext.cli.main import main, parser as whole_parser
from loratorio_ext.cli.tools import find_demo_data

PROMPT = "a red star <lora:star:1> <lora:moon:0.5>"


def actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from actions(command)
        else:
            yield action


def test_every_option_has_a_help_text_that_can_be_shown() -> None:
    assert [action.option_strings for action in actions(whole_parser()) if not action.help] == []


@pytest.mark.parametrize("command", ["generate", "serve", "demo"])
def test_help_and_version_end_well(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"loratorio {command}" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"loratorio {__version__}"


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from loratorio_ext.cli.main import main; main(['generate', '--help']);"
        "main(['serve', '--help']);"
        "main(['demo', '--steps', '0']); sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_the_module_is_the_command() -> None:
    command, root = [sys.executable, "-m", "loratorio", "generate"], Path(__file__).resolve().parents[2]
    run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=root)
    assert run.returncode == 2
    assert run.stderr.startswith("loratorio generate: ")
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([], "command"),
        (["draw"], "draw"),
        (["generate"], "prompt"),
        (["generate", PROMPT, "--steps", "0"], "1 to 1000"),
        (["generate", PROMPT, "--steps", "1_0"], "1 to 1000"),
        (["generate", PROMPT, "--seed", "-1"], "0 to"),
        (["generate", PROMPT, "--seed", "9" * 5000], "0 to"),
        (["generate", PROMPT, "--cfg", "nan"], "1 to 1000"),
        (["generate", PROMPT, "--method", "mrege"], "merge"),
        (["generate", PROMPT, "--temperature", "inf"], "temperature is"),
        (["generate", PROMPT, "--patch-size", "2.5"], "whole number"),
        (["generate", PROMPT, "--top-k-scope", "pixel"], '"patch"'),
        (["generate", PROMPT, "--top-k", "65"], "0 to 64"),
        (["generate", PROMPT, "--temp", "1"], "--temp"),
        (["generate", PROMPT, "--start", "0.9", "--end", "0.1"], "start is 0.9"),
        (["generate", PROMPT, "--model", "nowhere"], "nowhere does not exist"),
        (["generate", PROMPT, "--lora-dir", "nowhere"], "not a folder"),
        (["generate", PROMPT, "--out", "picture.jpg"], ".png"),
        (["generate", PROMPT, "--out", "one.png", "--batch", "2"], "folder"),
        (["generate", PROMPT, "--seed", str(2**63 - 1), "--batch", "2"], "largest"),
        (["generate", "a star <lora:missing:1>"], "near: 'star'"),
        (["demo", "--pictures", "99"], "1 to 16"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, list) else None,
)
def test_wrong_input_is_one_line_and_2(
    toys: Any, wrong: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(wrong, toys.tools) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("loratorio")
    assert captured.out == ""
    assert list(Path.cwd().rglob("*.png")) == []


def test_a_place_that_cannot_be_written_is_wrong_input(toys: Any, capsys: pytest.CaptureFixture[str]) -> None:
    Path("taken").write_text("a file")
    assert main(["generate", PROMPT, "--out", "taken"], toys.tools) == 2
    assert "cannot write" in capsys.readouterr().err
    assert main(["generate", PROMPT, "--report", "."], toys.tools) == 2
    assert "is a folder" in capsys.readouterr().err
    assert toys.host.requests == []


@pytest.mark.parametrize(
    "error", [RuntimeError("out of\nmemory"), ValueError("shapes"), OSError("disk full")]
)
def test_a_failure_while_working_is_one_line_and_1(
    toys: Any, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    toys.host.fail_at, toys.host.error = (1, 3), error
    assert main(["generate", PROMPT, "--quiet"], toys.tools) == 1
    captured = capsys.readouterr().err
    assert captured.count("\n") == 1
    assert "failed" in captured
    assert str(error).split()[0] in captured


def test_a_traceback_is_shown_when_asked_for(toys: Any, capsys: pytest.CaptureFixture[str]) -> None:
    toys.host.fail_at, toys.host.error = (1, 3), RuntimeError("broken")
    assert main(["generate", PROMPT, "--traceback"], toys.tools) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_without_the_embedded_world_the_remedy_is_named(
    toys: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tools = replace(toys.tools, find_demo_data=lambda: find_demo_data(tmp_path / "site" / "loratorio_ext"))
    assert main(["demo"], tools) == 2
    assert "train-demo" in capsys.readouterr().err


def test_the_embedded_world_is_found_in_a_checkout_and_in_a_wheel(tmp_path: Path) -> None:
    package = tmp_path / "loratorio_ext"
    for folder in (package / "demo_data", tmp_path / "demo"):
        (folder / "model").mkdir(parents=True)
        (folder / "model" / "model_index.json").touch()
        assert find_demo_data(package).folder == folder
        assert find_demo_data(package).networks == folder / "networks"


def test_help_says_where_measuring_and_training_are(toys: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"], toys.tools) == 0
    assert "`loratorio-lab`: evaluate, bench, train-demo" in capsys.readouterr().out
