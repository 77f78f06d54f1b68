"""The README's code for a diffusers pipeline runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.hosts_diffusers.pipelines import write_networks
from tests.hosts_pipelines.models import MODELS

README = Path(__file__).parents[2] / "README.md"


def test_the_code_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    section = README.read_text("utf-8").partition("## With a diffusers pipeline")[2]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    pipe = MODELS["sd"]().pipeline
    (tmp_path / "networks").mkdir()
    write_networks(pipe, tmp_path / "networks", ("star", "grid"))
    monkeypatch.chdir(tmp_path)
    names = {"pipe": pipe}
    exec(compile(found[1].replace("steps=20", "steps=2"), "README.md", "exec"), names)
    assert names["image"].size == (16, 16)
    assert '"composed": [\n    "star",\n    "grid"\n  ]' in capsys.readouterr().out
