"""The Python code of the README and of the docs runs as it stands, page by page, with fewer steps."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

import loratorio_ext
from loratorio_ext.settings import SETTINGS, settings_from_arguments

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
NOTEBOOK = ROOT / "docs" / "example.ipynb"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def fewer_steps(code: str) -> str:
    return re.sub(r"steps=\d+", "steps=2", code)


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What a reader has: a pipeline, and a clone with the embedded model and its networks."""
    pipe = DiffusionPipeline.from_pretrained(ROOT / "demo/model", dtype=torch.float32)
    (tmp_path / "demo").symlink_to(ROOT / "demo")
    monkeypatch.chdir(tmp_path)
    return {"pipe": pipe}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem
)
def test_the_python_of_a_page_runs(
    page: Path, names: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for code in blocks(page, "python"):
        exec(compile(fewer_steps(code), page.name, "exec"), names)
    if "image" in names:
        assert names["image"].size == (64, 64)
    if "composition" in names:
        assert names["composition"].report.composed == ("star",)
        assert '"composed": [\n    "star",\n    "grid"\n  ]' in capsys.readouterr().out


def test_pages_with_code_are_found() -> None:
    assert {"README", "start-diffusers", "start-page"} <= {
        page.stem for page in PAGES if blocks(page, "python")
    }


def test_signatures_are_those_of_the_code() -> None:
    compose, settings = blocks(ROOT / "docs" / "python.md", "text")
    assert re.findall(r"(?<=[( ])\w+", compose) == [*inspect.signature(loratorio_ext.compose).parameters]
    assert re.findall(r"(\w+)=('.*?'|[^,\s]+)", settings) == [
        (one.name, repr(one.default)) for one in SETTINGS
    ]


def test_the_body_of_a_request_is_understood() -> None:
    (body,) = blocks(ROOT / "docs" / "api.md", "json")
    settings = settings_from_arguments(json.loads(body)["alwayson_scripts"]["LoRAtorio"]["args"])
    assert (settings.enabled, settings.temperature, settings.recenter) == (True, 0.05, 0.5)


def test_the_notebook_runs(names: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = json.loads(NOTEBOOK.read_text("utf-8"))
    assert notebook["nbformat"] == 4
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    monkeypatch.chdir(ROOT / "docs")  # where Jupyter runs it
    shown: dict[str, Any] = {"display": lambda *things: None}
    for code in cells:
        exec(compile(fewer_steps(code), NOTEBOOK.name, "exec"), shown)
    assert shown["composed"].size == shown["merged"].size
    assert shown["composed"].tobytes() != shown["merged"].tobytes()
