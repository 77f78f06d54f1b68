"""A stranger's program tries all routes as they are described; none may break.

LORATORIO_FUZZ_EXAMPLES sets how many requests a route gets (40 without it).
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from loratorio_ext.api import add_routes
from loratorio_ext.server.server import Server

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
EXAMPLES = int(os.environ.get("LORATORIO_FUZZ_EXAMPLES", "40"))
# Also of what fits the description some is refused: a start above the end, say.
EXPECTED = {200, 404, 405, 413, 422}


@pytest.fixture
def fuzzed(server: Server, tmp_path: Path) -> Any:
    app = FastAPI()
    add_routes(app, server, credentials=None)
    return schemathesis.openapi.from_asgi("/openapi.json", app)


@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_no_request_breaks_a_route(fuzzed: Any, mode: str) -> None:
    answers: Counter[int] = Counter()
    operations = [found.ok() for found in fuzzed.get_all_operations()]
    assert len(operations) == 10
    for operation in operations:
        if mode == "positive" or operation.body or operation.query or operation.path_parameters:
            generation = schemathesis.GenerationMode(mode)
            ask(operation, operation.as_strategy(generation_mode=generation), answers)
    print(f"{mode}: {sum(answers.values())} requests, {dict(answers)}")
    assert set(answers) <= EXPECTED
    assert {200, 404} <= set(answers) if mode == "positive" else 422 in answers


def ask(operation: Any, strategy: Any, answers: Counter[int]) -> None:
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        database=None,
    )
    @given(case=strategy, data=st.data())
    def one(case: Any, data: st.DataObject) -> None:
        if case.path_parameters and data.draw(st.booleans()):
            # Few of all numbers are those of a run that is kept.
            case.path_parameters = {name: data.draw(st.integers(0, 2)) for name in case.path_parameters}
        answer = case.call()
        answers[answer.status_code] += 1
        assert answer.status_code in EXPECTED, (case.as_curl_command(), answer.text)
        if answer.status_code == 200:
            case.validate_response(answer, checks=[schemathesis.checks.response_schema_conformance])
        else:
            assert isinstance(answer.json()["detail"], str)

    one()
