from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from loratorio_ext.cli.judge import FACTORS
from loratorio_ext.cli.tools import DemoData
from loratorio_ext.hosts.diffusers_host import Request
from loratorio_lab.tools import LabTools


def named(text: str) -> dict[str, str]:
    """What a caption says, by factor."""
    return {factor.name: word for word in text.split() for factor in FACTORS if word in factor.values}


@dataclass
class StandIn:
    """A model and its judge, who "sees" what the prompts asked for, but no object by Merge."""

    requests: list[Request] = field(default_factory=list)
    fails_at: int = 0

    def generate(self, request: Request, on_step: Any = None) -> Any:
        self.requests.append(request)
        if len(self.requests) == self.fails_at:
            raise KeyboardInterrupt
        plain = 2 * request.steps * len(request.seeds)
        totals = SimpleNamespace(rows=plain * (1 + (request.method == "loratorio")), plain_rows=plain)
        return SimpleNamespace(report=SimpleNamespace(totals=totals), images=request.prompts)

    def scores(self, images: Any) -> list[dict[str, dict[str, float]]]:
        found = []
        for prompt in images:
            seen = named(prompt.partition("<")[0])
            if self.requests[-1].method == "merge":
                seen["object"] = "none"
            found.append({factor: {value: 0.9, "other": 0.1} for factor, value in seen.items()})
        return found

    @property
    def drawn(self) -> list[tuple[str, str]]:
        return [(request.method, prompt) for request in self.requests for prompt in request.prompts]


@pytest.fixture
def named_values() -> Callable[[str], dict[str, str]]:
    return named


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like a world; the working folder is beside it."""
    folder = tmp_path / "demo"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def model() -> StandIn:
    return StandIn()


@pytest.fixture
def tools(model: StandIn, world: Path) -> LabTools:
    return LabTools(
        open_host=lambda *place, **how: model,  # type: ignore[arg-type, return-value]
        load_judge=lambda path: model,
        find_demo_data=lambda: DemoData(world),
    )
