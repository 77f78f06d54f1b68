"""Every command in the README, the docs and CONTRIBUTING.md exists; those of ours run."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loratorio_ext.cli import main as cli
from loratorio_ext.cli.tools import Tools
from loratorio_lab import main as lab

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
PYPROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
TORCH = ["torch", "--index-url", "https://download.pytorch.org/whl/cpu"]


def commands_of(page: Path) -> Iterator[list[str]]:
    """The commands of a page's blocks of shell code, as words."""
    for block in re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            while words:
                end = words.index("&&") if "&&" in words else len(words)
                yield words[:end]
                words = words[end + 1 :]


def inline_commands() -> Iterator[list[str]]:
    """The commands that stand in the text, if they are whole."""
    for page in PAGES:
        text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
        for code in re.findall(r"`([^`]+)`", text):
            words = shlex.split(code.replace("\n", " ")) if re.match(r"(make|pip|loratorio)\b", code) else []
            if len(words) > 1 and "…" not in words:
                yield words


COMMANDS = {f"{page.stem}-{place}": words for page in PAGES for place, words in enumerate(commands_of(page))}


def check_make(targets: list[str]) -> None:
    for word in targets:
        name, equals, _ = word.partition("=")
        assert re.search(rf"(?m)^{name} \?=" if equals else rf"(?m)^{name}: ", MAKEFILE), word


def check_pip(words: list[str]) -> None:
    if words[:2] == ["install", "torch"]:
        assert words[1:] == TORCH
        return
    *flags, what = words
    assert flags in (["install"], ["install", "-e"], ["wheel", "--no-deps"]), words
    place, _, extras = what.rstrip("]").partition("[")
    assert place in (".", "loratorio")
    for extra in filter(None, extras.split(",")):
        assert re.search(rf"(?m)^{extra} = \[", PYPROJECT), extra


def run_loratorio(words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it stands, but for fewer steps and any free port; the page is not kept open."""
    (folder / "path/to/networks").mkdir(parents=True)
    (folder / "path/to/model").symlink_to(ROOT / "demo/model")
    for name, network in (("knight", "star"), ("castle", "grid"), ("lcm", "moon")):
        file = ROOT / "demo/networks" / f"{network}.safetensors"
        shutil.copy(file, folder / "path/to/networks" / f"{name}.safetensors")
    monkeypatch.chdir(folder)
    served: list[Any] = []
    few = ["--port", "0"] if words[0] == "serve" else ["--steps", "1"]
    code = cli.main([*words, *few, "--quiet"], Tools(serve_page=lambda *given: served.append(given)))
    assert code == 0
    assert served or [*folder.glob("outputs/**/*.png")]
    assert "--report" not in words or (folder / words[words.index("--report") + 1]).is_file()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_works(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *words = COMMANDS[name]
    if program == "make":
        check_make(words)
    elif program == "pip":
        check_pip(words)
    elif program == "loratorio":
        run_loratorio(words, tmp_path, monkeypatch)
        assert "loratorio: warning" not in capsys.readouterr().err
    else:
        assert program in (".venv/bin/python", ".venv/bin/ruff")
        assert words[:2] == ["-m", "pytest"] or words[0] in ("format", "check")
        assert [word for word in words if "/" in word and not (ROOT / word).exists()] == []


def test_all_three_kinds_of_people_get_commands() -> None:
    assert {words[0] for name, words in COMMANDS.items() if name.startswith("README-")} == {"make", "pip"}
    assert [words for words in COMMANDS.values() if words[0] == "loratorio"]


def test_commands_in_the_text_exist(capsys: pytest.CaptureFixture[str]) -> None:
    found = 0
    for program, *words in inline_commands():
        found += 1
        if program == "make":
            check_make(words)
        elif program == "pip":
            check_pip(words)
        else:
            assert program in ("loratorio", "loratorio-lab"), program
            main = cli if program == "loratorio" else lab
            known = main.parser()._subparsers._group_actions[0].choices
            assert words[0] in known, words
            options = known[words[0]]._option_string_actions
            assert [word for word in words if word.startswith("--") and word not in options] == [], words
    assert found > 5


def test_options_in_the_text_exist() -> None:
    known = {"--index-url", "--no-deps", "--fix", "--api"}  # of pip, ruff and the WebUIs
    for main in (cli, lab):
        for one in main.parser()._subparsers._group_actions[0].choices.values():
            known |= one._option_string_actions.keys()
    used = {
        option
        for page in PAGES
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text("utf-8"))
    }
    assert used - known == set()
