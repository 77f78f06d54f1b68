"""A plain installation has no diffusers: the commands say what to install, and do nothing else."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from loratorio_ext.cli.tools import EXTRAS

ROOT = Path(__file__).parents[2]
HIDE = """
import sys
from importlib.machinery import PathFinder

class Hiding:
    @staticmethod
    def find_spec(name, path=None, target=None):
        return None if name in {hidden} else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [Hiding if finder is PathFinder else finder for finder in sys.meta_path]
{then}
"""
ALL = ("diffusers", "transformers", "accelerate", "peft", "PIL", "tqdm", "gradio")


def run_without(hidden: tuple[str, ...], then: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", HIDE.format(hidden=hidden, then=then)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("hidden", "module", "arguments", "missing", "extras"),
    [
        (ALL, "loratorio_ext.cli.main", ["generate", "a star"], ALL[:-1], "diffusers"),
        (ALL, "loratorio_ext.cli.main", ["demo"], ALL[:-1], "diffusers"),
        (ALL, "loratorio_ext.cli.main", ["serve"], ALL, "diffusers,page"),
        (("gradio",), "loratorio_ext.cli.main", ["serve"], ("gradio",), "diffusers,page"),
        (("peft",), "loratorio_ext.cli.main", ["demo"], ("peft",), "diffusers"),
        (ALL, "loratorio_lab.main", ["bench"], ALL[:-1], "diffusers"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_missing_is_named_with_the_remedy(
    hidden: tuple[str, ...],
    module: str,
    arguments: list[str],
    missing: tuple[str, ...],
    extras: str,
    tmp_path: Path,
) -> None:
    done = run_without(hidden, f"from {module} import main; sys.exit(main({arguments!r}))", tmp_path)
    names = ", ".join(missing).replace("PIL", "pillow")
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert f"not installed: {names}. " in line
    assert f"pip install 'loratorio[{extras}]' (in a checkout: pip install -e '.[{extras}]')" in line
    assert list(tmp_path.iterdir()) == []


def test_help_and_settings_need_nothing(tmp_path: Path) -> None:
    then = "import loratorio; print(loratorio.Settings().looks, loratorio.__version__)\n"
    done = run_without(ALL, then + "from loratorio_ext.cli.main import main; main(['--help'])", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("4 ") and "commands" in done.stdout


def test_a_name_that_needs_more_says_so(tmp_path: Path) -> None:
    done = run_without(ALL, "import loratorio; loratorio.compose", tmp_path)
    assert done.stderr.splitlines()[-1].startswith("ModuleNotFoundError: compose needs ")
    assert "pip install 'loratorio[diffusers]'" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_extras_are_those_of_the_distribution(extra: str) -> None:
    block = re.search(rf"(?ms)^{extra} = \[(.*?)\]$", (ROOT / "pyproject.toml").read_text("utf-8"))
    assert block is not None
    assert tuple(re.findall(r'"([a-z]+)', block[1])) == EXTRAS[extra]
