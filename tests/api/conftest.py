"""A server with a few runs in its history, and a client that asks it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import torch
from fastapi import FastAPI
from fastapi.testclient import TestClient
from PIL import Image

from loratorio_ext.api import add_routes
from loratorio_ext.run import NetworkUse, Report
from loratorio_ext.run.step_report import Observed, StepReport
from loratorio_ext.server.history import FinishedRun, History, PassRecord, picture_record
from loratorio_ext.server.options import Options
from loratorio_ext.server.presets import Presets
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.settings import Settings

NETWORKS: Mapping[str, str] = MappingProxyType(
    {
        "anna": "characters/anna",
        "bert": "characters/bert",
        "Bert the Great": "characters/bert",
        "night": "styles/night",
        "ünïcode ✓": "styles/ünïcode ✓",
    }
)
HEIGHT, WIDTH = 4, 8


def small_report(
    composed_steps: tuple[int, ...] = (0, 1, 2), images: int = 1, finished: bool = True
) -> Report:
    """Three steps of two networks: the first speaks on the left, in the last step in half the picture."""
    report = Report(Settings(enabled=True), uses(), "loratorio", 5, "a test")
    for index in range(3):
        composed = index in composed_steps
        figures = {
            "index": index,
            "sigma": float("inf") if index == 0 else 1.0,
            "mode": "composed" if composed else "merged",
            "scan": composed,
            "reused": False,
            "rows": 4 * images,
            "plain_rows": 2 * images,
            "calls": 1,
            "halvings": (),
            "image_of": tuple(range(images)),
            "seconds": 0.25,
            "finite": True,
        }
        seen = observed(index, images) if composed else Observed(torch.ones(2, images, dtype=torch.bool))
        report.add(partial(StepReport.of, seen, report.composed, **figures))
    report.finished = finished
    return report


def uses() -> list[NetworkUse]:
    return [NetworkUse("anna", 1.0, True), NetworkUse("night", 0.5, True), NetworkUse("kept", 1.0, False)]


def observed(index: int, images: int) -> Observed:
    left = torch.full((images, HEIGHT, WIDTH), 0.5)
    border = WIDTH // 2 - 2 + index
    left[:, :, :border] += 0.3
    left[:, :, border:] -= 0.3
    return Observed(
        similarity=torch.full((2, images), 0.5),
        weight=torch.full((2, images), 0.5),
        finite=torch.ones(2, images, dtype=torch.bool),
        acting=torch.ones(2, images, dtype=torch.bool),
        fallback=torch.tensor(False),
        maps=torch.stack([left, 1 - left]).half(),
        evaluated=None,
    )


def runs() -> list[FinishedRun]:
    pictures = [Image.new("RGB", (80, 40), color) for color in ((255, 255, 255), (200, 30, 30))]
    whole = FinishedRun(
        "anna <lora:anna:1> and night <lora:night:0.5>",
        "Steps: 3",
        tuple(picture_record(picture, 0, place, 7 + place) for place, picture in enumerate(pictures)),
        (PassRecord(0, False, small_report(images=2)), PassRecord(0, True, small_report(composed_steps=()))),
        ("said under the picture",),
    )
    cancelled = FinishedRun(
        "half a letter \ud800" + "x" * 1000,
        "",
        (),
        (PassRecord(0, False, small_report((1,), finished=False)),),
    )
    return [whole, cancelled]


@pytest.fixture
def server(tmp_path: Path) -> Server:
    history = History(lambda: Options().limits_of_history)
    for run in runs():
        history.add(run)
    presets = Presets(tmp_path / "presets.json")
    presets.save("my own", Settings(top_k=2))
    return Server(
        host="a test",
        version="1.2",
        history=history,
        presets=presets,
        networks=lambda: NETWORKS,
        refresh=lambda: None,
        options=Options,
        words=Words,
        obstacle=lambda: None,
        merged_on_top=False,
    )


@pytest.fixture
def client_of() -> Callable[..., TestClient]:
    """client_of(server, credentials): asks a server's routes."""

    def make(server: Server, credentials: Mapping[str, str] | None = None) -> TestClient:
        app = FastAPI()
        add_routes(app, server, credentials=credentials)
        return TestClient(app, base_url="http://testserver/loratorio/v1/")

    return make


@pytest.fixture
def client(server: Server, client_of: Callable[..., TestClient]) -> TestClient:
    return client_of(server)


@pytest.fixture
def picture_of() -> Callable[[Any], Image.Image]:
    def read(answer: Any) -> Image.Image:
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "image/png"
        return Image.open(io.BytesIO(answer.content)).convert("RGB")

    return read


@pytest.fixture
def refused() -> Callable[..., None]:
    """refused(answer, status, *words): it is a refusal in the one form, and its text has the words."""

    def check(answer: Any, status: int, *words: str) -> None:
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/json"
        assert list(answer.json()) == ["detail"]
        detail = answer.json()["detail"]
        assert isinstance(detail, str) and len(detail) < 600
        assert [word for word in words if word not in detail] == []

    return check
