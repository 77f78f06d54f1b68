"""Lines over steps that have no value."""

from __future__ import annotations

import re

import pytest

from loratorio_ext.plots.charts import line_chart


@pytest.mark.parametrize(("gaps", "points"), [(True, [2, 2, 2]), (False, [4])])
def test_a_line_breaks_or_goes_on_over_steps_without_a_value(gaps: bool, points: list[int]) -> None:
    line = [0.1, 0.3, None, 0.2, None, None, 0.4]
    drawn = re.findall(r'<polyline points="([^"]*)"', line_chart(["a"], [line], title="t", gaps=gaps))
    # A step that stands alone is a line to itself.
    assert [len(one.split()) for one in drawn] == points
