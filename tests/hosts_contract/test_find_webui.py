"""Which WebUI this is, told by what can be imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from loratorio_ext.hosts import find
from loratorio_ext.hosts.webuis.generation import generation_of
from loratorio_ext.hosts.webuis.host import Webui
from loratorio_ext.settings import Settings

TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def clean() -> Iterator[None]:
    forget()
    yield
    forget()


def forget() -> None:
    """Looking for a module leaves the packages above it behind."""
    for name in [
        one for one in sys.modules if one.split(".")[0] in ("backend", "ldm_patched", "modules_forge")
    ]:
        del sys.modules[name]


def test_forge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(TESTS / "hosts_forge" / "webui")
    assert find._is_forge()


def test_automatic1111() -> None:
    assert not find._is_forge() and not find._has_another_backend()


@pytest.mark.parametrize("package", ["ldm_patched", "backend"])
def test_another_backend_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str
) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").touch()
    (tmp_path / package / "memory_management.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    webui = find.this_webui()
    assert webui.services is None
    refused_in_words(webui, "a backend that LoRAtorio does not know")


def refused_in_words(webui: Webui, words: str) -> None:
    obstacle = webui.server.obstacle()
    assert obstacle is not None and words in obstacle
    host = webui.host()
    p = SimpleNamespace(comments={}, extra_generation_params={})
    p.comment = lambda text: p.comments.update({text: 1})
    host.start(p, Settings(enabled=True))
    generation_of(p).networks_activated(p, {})
    generation_of(p).before_encoding(p)
    generation_of(p).sampled(p)
    host.finished(p, SimpleNamespace(comments="", extra_generation_params={}))
    (comment,) = p.comments
    assert obstacle in comment and "act merged, the usual way" in comment
    host.start(p, Settings())
    generation_of(p).networks_activated(p, {})
    assert p.comments == {}
