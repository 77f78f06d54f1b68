"""A WebUI with a backend that nobody has told us of: said in words, and everything merged the usual way."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loratorio_ext.hosts.find import this_webui
from loratorio_ext.ui.panel.cost import PageInputs, cost_of

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
    told = cost_of(standin.server, PageInputs(prompt=object()), [PROMPT, True])
    assert "does not know" in told and "among the networks" not in told
    p = standin.new_p(PROMPT, {})
    picture = standin.generate(p)
    (comment,) = p.comments
    assert obstacle in comment and "act merged, the usual way" in comment
    merged = standin.new_p(PROMPT)
    assert (standin.generate(merged) == picture).all() and merged.comments == {}
    assert p.extra_generation_params == {}


@pytest.mark.parametrize("webui_name", ["forge_neo"])
def test_a_missing_name_is_told_without_its_file(standin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(standin.backend("patcher.lora"), "merge_lora_to_weight")
    standin.load_script()
    obstacle = str(standin.server.obstacle())
    assert "lacks a part" in obstacle and "'backend.patcher.lora'" in obstacle and "/" not in obstacle


@pytest.fixture
def root_of_errors() -> Iterator[logging.Logger]:
    """Forge Neo's root logger shows errors alone."""
    root, ours = logging.getLogger(), logging.getLogger("loratorio")
    before = root.level, ours.level
    root.setLevel(logging.ERROR)
    ours.setLevel(logging.NOTSET)
    yield ours
    root.setLevel(before[0])
    ours.setLevel(before[1])


def test_what_is_said_is_in_the_log_also_where_others_show_errors_alone(
    standin: Any, root_of_errors: logging.Logger
) -> None:
    assert not root_of_errors.isEnabledFor(logging.WARNING)
    this_webui()
    assert root_of_errors.isEnabledFor(logging.WARNING) and not root_of_errors.isEnabledFor(logging.INFO)
