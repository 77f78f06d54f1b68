"""Bad input is refused before any work, with the value and the remedy."""

from __future__ import annotations

import math
from typing import Any

import pytest

from loratorio_ext.run import NetworkUse, Run
from loratorio_ext.settings import Settings
from tests.run.world import World, uses


@pytest.mark.parametrize("strength", [math.nan, math.inf, -math.inf, True])
def test_strength_must_be_a_finite_number(strength: float) -> None:
    with pytest.raises(ValueError, match=r"'bad' is .*finite number"):
        Run(Settings(looks=0), [NetworkUse("bad", strength)])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"method": "loratorrio"}, "loratorrio.*composite"),
        ({"switch_every": 0}, "switch_every is 0"),
        ({"switch_every": True}, "switch_every is True"),
        ({"switch_every": 1.5}, "switch_every is 1.5"),
    ],
)
def test_options(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        World(uses(1)).run(**options)


@pytest.mark.parametrize(("changes", "text"), [({"index": -1}, "index is -1"), ({"total": 0}, "total is 0")])
def test_impossible_evaluations(changes: dict[str, Any], text: str) -> None:
    world = World(uses(2), images=2)
    run = world.run()
    with pytest.raises(ValueError, match=text):
        run.step(world.evaluation(**changes))
    assert world.model.calls == [] and run.report.steps == ()
