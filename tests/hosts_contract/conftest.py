"""Both WebUIs' stand-ins, for what must be the same in both."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from loratorio_ext.server.server import Server

TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Running:
    """One of the WebUIs with the project's script in it.

    Attributes:
        name: of the adapter.
        webui: the stand-in's modules.
        draw: draw(prompt, settings, **fields of p) → (latents, p).
        server: the script's.
    """

    name: str
    webui: SimpleNamespace
    draw: Any
    server: Server

    def part(self, name: str) -> ModuleType:
        """A module of the adapter."""
        return sys.modules[f"loratorio_ext.hosts.{self.name}.{name}"]

    @property
    def services(self) -> Any:
        """The class of what all WebUIs offer under the same names."""
        return sys.modules["loratorio_ext.hosts.webuis.webui"].WebuiServices

    @property
    def opts(self) -> Any:
        return self.webui.shared.opts

    def before_call(self, callback: Any) -> None:
        """Called with the callback's parameters before the script is."""
        self.webui.script_callbacks.denoiser_callbacks.insert(0, callback)


@pytest.fixture(params=["a1111", "forge"])
def running(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Running]:
    name: str = request.param
    conftest = _conftest_of(name)
    with conftest.running_webui(monkeypatch, tmp_path) as webui:
        server: Server = webui.script.LoRAtorio.server
        yield Running(name, webui, conftest.drawing(webui), server)


def _conftest_of(name: str) -> Any:
    """By its path: test files are no package."""
    specification = importlib.util.spec_from_file_location(
        f"conftest_of_{name}", TESTS / f"hosts_{name}" / "conftest.py"
    )
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
