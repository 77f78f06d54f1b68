"""A WebUI with a backend that nobody has told us of: said in words, and everything merged the usual way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

PROMPT = "a cat <lora:lin:1>"


@pytest.fixture
def webui_name() -> str:
    return "a1111"


@pytest.mark.parametrize("package", ["ldm_patched", "backend"])
def test_another_backend_is_refused_in_words(
    standin: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str
) -> None:
    (tmp_path / "tree" / package).mkdir(parents=True)
    for name in ("__init__", "memory_management"):
        (tmp_path / "tree" / package / f"{name}.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "tree")
    standin.load_script()
    assert standin.script_callbacks.denoiser_callbacks == []
    assert standin.start_app(api=True).get("/loratorio/v1/version").status_code == 404
    obstacle = standin.server.obstacle()
    assert obstacle is not None and "a backend that LoRAtorio does not know" in obstacle
    p = standin.new_p(PROMPT, {})
    picture = standin.generate(p)
    (comment,) = p.comments
    assert obstacle in comment and "act merged, the usual way" in comment
    merged = standin.new_p(PROMPT)
    assert (standin.generate(merged) == picture).all() and merged.comments == {}
    assert p.extra_generation_params == {}
