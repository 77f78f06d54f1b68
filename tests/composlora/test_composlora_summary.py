"""What was not scored does not count, and the page says what it cannot say."""

from __future__ import annotations

from typing import Any

import pytest

from loratorio_lab.evaluate.composlora.draw import Picture
from loratorio_lab.evaluate.composlora.scoring import Score
from loratorio_lab.evaluate.composlora.suite import CAUTION, NOT_SCORED, figures_of, notes
from loratorio_lab.evaluate.composlora.testbed import ComposLoraTask
from loratorio_lab.evaluate.summary import cells_of, grouped, table

TASKS = [
    ComposLoraTask((f"a_{combination}", f"b_{combination}"), "held-out", number, 7, "a, b", "fine, a, b")
    for combination in range(3)
    for number in range(4)
]
Scores = dict[tuple[str, str], Score]


def cells(scores: Scores) -> Any:
    pictures = [
        Picture(arm, one.key, rows, 40.0, 2.0, "cpu")
        for arm, rows in (("merge", 40.0), ("loratorio", 120.0))
        for one in TASKS
    ]
    groups = grouped(pictures, ["merge", "loratorio"], [""], TASKS, "loratorio")
    return cells_of(groups, figures_of(scores))


def scored(arm: str, some: list[ComposLoraTask], score: float, cut: bool = False) -> Scores:
    return {(arm, one.key): Score(arm, one.key, "0", score + one.number, cut) for one in some}


def test_what_is_not_scored_does_not_count() -> None:
    scores = scored("merge", TASKS[:5], 30.0) | scored("loratorio", TASKS[4:6], 31.0)
    found = cells(scores)
    merge, loratorio = (values for _, values in found)
    assert list(merge) == ["pictures", "score", "behind", "cut", "ratio", "seconds"]  # as in results.json
    assert (merge["pictures"], merge["ratio"], loratorio["ratio"], merge["seconds"]) == (12, 1.0, 3.0, 2.0)
    assert (merge["score"].mean, merge["score"].pictures, loratorio["score"].pictures) == (31.2, 5, 2)
    assert (merge["behind"].mean, merge["behind"].pictures, loratorio["behind"]) == (1.0, 1, None)
    line = "| 2 | merge | 31.20 ± 0.48 | +1.00 | 1.00 | 2.00 | 12 |"
    assert line in table(("networks", "method"), figures_of(scores), found)


@pytest.mark.parametrize("cut", [False, True])
def test_the_page_says_what_it_cannot_say(cut: bool) -> None:
    page = notes(cells({}), {"style": "anime", "arms": "long", "torch": "2.13"})
    assert NOT_SCORED in page and CAUTION in page
    assert "- style: anime\n- torch: 2.13\n" in page and "long" not in page
    page = notes(cells(scored("merge", TASKS, 30.0, cut)), {})
    assert NOT_SCORED not in page
    assert ("merge 2: 100%" in page) == cut
