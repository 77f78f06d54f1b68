"""Format, lint and types of the whole source: what `make lint` runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.lint
@pytest.mark.parametrize(
    "command",
    [("ruff", "format", "--check", "."), ("ruff", "check", "."), ("mypy",)],
    ids=["format", "lint", "types"],
)
def test_the_source_is_clean(command: tuple[str, ...], root: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", *command], cwd=root, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, f"{run.stdout}\n{run.stderr}"


def test_a_group_of_tests_stays_in_one_process(request: pytest.FixtureRequest) -> None:
    """pytest-xdist goes by the end of a test's name, which some versions of pytest do not let it write."""
    if getattr(request.config.option, "loadgroup", False):
        assert request.node.nodeid.endswith("@house_tools")
