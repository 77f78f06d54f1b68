"""The docs build as a site, with every link and anchor checked; nothing in it is loaded from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="the extra docs is not installed")

ROOT = Path(__file__).parents[2]
PUBLIC = ("compose", "PipelineComposition", "Settings", "DiffusersHost", "Request", "Result", "Report")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    build = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages == {path.stem for path in site.glob("*.html")} - {"404"}
    assert (site / "example.ipynb").is_file()


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    loads = re.compile(
        r"""<(?:script|img|iframe|source)\b[^>]*\bsrc="?https?:|<link\b[^>]*stylesheet[^>]*https?:"""
    )
    assert [path.name for path in site.glob("*.html") if loads.search(path.read_text("utf-8"))] == []


@pytest.mark.parametrize("name", PUBLIC)
def test_the_reference_has_the_docstrings(name: str, site: Path) -> None:
    text = (site / "python.html").read_text("utf-8")
    assert re.search(rf'<h2 id="loratorio_ext\.[a-z_.]*{name}"', text)


def test_the_readme_is_one_screen() -> None:
    assert len((ROOT / "README.md").read_text("utf-8").split()) < 900
