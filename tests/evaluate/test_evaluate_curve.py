"""The curve is drawn from the results' cells, whatever the ways are called."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from typing import Any

from loratorio_lab.evaluate.curve import curve

SVG = "{http://www.w3.org/2000/svg}"


def cell(networks: int, arm: str, ratio: float, mean: float, error: float | None = 0.02) -> dict[str, Any]:
    return {"networks": networks, "arm": arm, "ratio": ratio, "presence": {"mean": mean, "error": error}}


def test_a_panel_for_each_number_and_a_point_for_each_way() -> None:
    cells = [
        cell(2, "merge", 1.0, 0.8),
        cell(2, "loratorio", 1.2, 0.9),
        cell(4, "merge", 1.0, 0.5, None),
        cell(4, "<b>&", 1.0, 0.45),
        cell(4, "loratorio-fast", 1.1, 0.7),
        cell(4, "loratorio looks=2", 1.2, 0.72),
        cell(4, "loratorio-every-step", 3.0, 0.71),
    ]
    root = ElementTree.fromstring(curve(cells))
    panels = root.findall(f"{SVG}g")
    assert [len(panel.findall(f"{SVG}circle")) for panel in panels] == [2, 5]
    texts = [text.text for text in panels[1].findall(f"{SVG}text")]
    assert {"4 networks", "Merge", "<b>&", "one look", "2 looks", "1 ×", "3 ×"} <= set(texts)
    points = [
        tuple(map(float, point.split(",")))
        for point in panels[1].find(f"{SVG}polyline").get("points").split()
    ]
    assert len(points) == 3 and all(a[0] < b[0] for a, b in pairwise(points))
    circles = [(float(one.get("cx")), float(one.get("cy"))) for one in panels[1].findall(f"{SVG}circle")]
    assert circles[2][1] < circles[0][1]  # more presence stands higher
    assert all(0 <= x <= 360 and 0 <= y <= 300 for x, y in circles)
