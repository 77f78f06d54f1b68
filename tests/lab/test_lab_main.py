"""`loratorio-lab`: exit codes, messages and help, as of `loratorio`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from loratorio_ext import __version__
from loratorio_lab.main import main, parser

COMMANDS = ("evaluate", "bench", "demo", "train-demo")


def actions(of: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            assert tuple(action.choices) == COMMANDS
            for command in action.choices.values():
                yield from actions(command)
        else:
            yield action


def test_every_option_has_a_help_text_that_can_be_shown() -> None:
    assert [action.option_strings for action in actions(parser()) if not action.help] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_help_and_version_end_well(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"loratorio-lab {command}" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"loratorio-lab {__version__}"


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; from loratorio_lab.main import main;"
        f"[main([command, '--help']) for command in {COMMANDS}];"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_the_module_is_the_command() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "loratorio_lab", "bench", "--rounds", "1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert run.returncode == 2
    assert run.stderr.startswith("loratorio-lab bench: ")
    assert run.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ([], "command"),
        (["generate", "a star"], "generate"),
        (["train-demo", "--workers", "0"], "1 to 256"),
        (["evaluate", "--temperature", "0"], "temperature is"),
        (["evaluate", "--sweep", "temperature"], "has no values"),
        (["evaluate", "--start", "0.9", "--end", "0.1"], "start is 0.9"),
        (["bench", "--out", __file__], "cannot write"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_wrong_input_is_one_line_and_2(
    wrong: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(wrong) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert (captured.err.count("\n"), captured.out) == (1, "")
    assert captured.err.startswith("loratorio-lab")
    assert list(tmp_path.iterdir()) == []
