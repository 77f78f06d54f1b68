"""The tables of results say what the files in docs/results say, which the commands wrote."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EVIDENCE = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
LABELS = {
    "base": "no network",
    "merge": "Merge",
    "switch": "Switch, every 5 steps",
    "composite": "Composite",
    "loratorio": "**LoRAtorio, every step**",
    "loratorio-fast": "LoRAtorio, networks at every second step (`--reuse 2`)",
    "loratorio-paper": "LoRAtorio, the paper's form",
    "loratorio-uniform": "LoRAtorio with equal weights everywhere",
    "merge-recentred": "Merge, re-centred (λ = 0.5)",
    "composite-recentred": "Composite, re-centred (λ = 0.5)",
}

WAYS = {
    "merge": "Merge",
    "loratorio": "**LoRAtorio, four looks**",
    "loratorio-fast": "LoRAtorio, one look",
    "loratorio-every-step": "LoRAtorio, every step",
    "attention-masks": "hard masks from cross-attention",
    "regional": "true masks",
}


def results(name: str) -> Any:
    return json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def shown(estimate: Any, sign: str = "") -> str:
    return f"{estimate['mean']:{sign}.3f} ± {estimate['error']:.3f}"


def methods() -> Iterator[str]:
    cells = results("evaluate")["cells"]
    for arm in dict.fromkeys(cell["arm"] for cell in cells):
        mine = {cell["networks"]: cell for cell in cells if cell["arm"] == arm}
        columns = [shown(mine[n]["presence"]) for n in (1, 2, 3, 4)]
        ahead = [shown(mine[n]["behind"], "+") if mine[n]["behind"] else "" for n in (3, 4)]
        yield f"| {LABELS[arm]} | {' | '.join([*columns, *ahead])} | {mine[4]['ratio']:.2f} |"


def of_all_worlds(estimates: list[Any]) -> dict[str, float]:
    """The mean of worlds with as many pictures each, and its error: they were drawn independently."""
    return {
        "mean": sum(one["mean"] for one in estimates) / len(estimates),
        "error": sum(one["error"] ** 2 for one in estimates) ** 0.5 / len(estimates),
    }


def looks() -> Iterator[str]:
    worlds = [results(name)["cells"] for name in ("looks", "looks-2")]
    for arm in WAYS:
        mine = {
            n: [cell for cells in worlds for cell in cells if cell["arm"] == arm and cell["networks"] == n]
            for n in (1, 2, 3, 4)
        }
        assert all(len(cells) == len(worlds) for cells in mine.values())
        columns = [shown(of_all_worlds([cell["presence"] for cell in mine[n]])) for n in (1, 2, 3, 4)]
        ahead = [
            shown(of_all_worlds([cell["behind"] for cell in mine[n]]), "+") if mine[n][0]["behind"] else ""
            for n in (3, 4)
        ]
        complete = f"{sum(cell['complete']['mean'] for cell in mine[4]) / len(worlds):.2f}"
        yield f"| {WAYS[arm]} | {' | '.join([*columns, *ahead])} | {complete} | {mine[4][0]['ratio']:.2f} |"


def numbers_of_looks() -> Iterator[str]:
    for cell in results("looks-sweep")["cells"]:
        if cell["networks"] == 4 and "looks=" in cell["arm"]:
            number = cell["arm"].removeprefix("loratorio looks=")
            yield f"| {number} | {shown(cell['presence'])} | {cell['ratio']:.2f} |"


def few_steps() -> Iterator[str]:
    ways = {**WAYS, "loratorio looks=2": "LoRAtorio, two looks"}
    for name, steps in itertools.product(("steps", "distilled"), (4, 8)):
        cells = results(f"{name}-{steps}")["cells"]
        for arm in dict.fromkeys(cell["arm"] for cell in cells if cell["arm"] in ways):
            mine = {cell["networks"]: cell for cell in cells if cell["arm"] == arm}
            columns = [shown(mine[n]["presence"]) for n in (2, 3, 4)]
            yield f"| {steps} | {ways[arm].strip('*')} | {' | '.join(columns)} | {mine[4]['ratio']:.2f} |"


def samplers() -> Iterator[str]:
    for name, called in (("dpm", "DPM++ 2M, 20 steps"), ("heun", "Heun, 10 steps")):
        for cell in results(f"sampler-{name}")["cells"]:
            ahead = shown(cell["behind"], "+") if cell["behind"] else ""
            way = WAYS[cell["arm"]].strip("*")
            yield f"| {called} | {way} | {shown(cell['presence'])} | {ahead} | {cell['ratio']:.2f} |"


def pools() -> Iterator[str]:
    for name in ("pool-8", "pool-64", "pool-words"):
        for cell in results(name)["cells"]:
            if cell["networks"] != 3:
                continue
            ahead = "" if cell["ahead"] is None else shown(cell["ahead"], "+")
            right, weight = (
                f"{sum(cell[key]) / len(cell[key]):.2f}" if cell[key] else "" for key in ("right", "weight")
            )
            stable = "" if cell["stable"] is None else f"{cell['stable']:.2f}"
            yield (
                f"| {cell['arm']} | {shown(cell['presence'])} | {ahead} | {right} | {weight} | {stable} | "
                f"{cell['ratio']:.2f} |"
            )


def reuse() -> Iterator[str]:
    for cell in results("reuse")["cells"]:
        label = "every step" if cell["arm"] == "loratorio" else cell["arm"].removeprefix("loratorio ")
        yield f"| {label} | {shown(cell['presence'])} | {cell['ratio']:.2f} |"


@pytest.mark.parametrize("table", [methods, looks, numbers_of_looks, few_steps, samplers, pools, reuse])
def test_the_evidence_has_every_line(table: Any) -> None:
    lines = list(table())
    assert lines
    assert [line for line in lines if line not in EVIDENCE] == []


def test_the_readme_has_some_columns_of_the_looks() -> None:
    """Without N = 1, the leads and the last column but one."""
    expected = []
    for line in looks():
        way, _, two, three, four, *_, ratio = line.strip("| ").split(" | ")
        expected.append(f"| {way} | {two} | {three} | {four} | {ratio} |")
    shown_there = [line for line in README.splitlines() if line.endswith(" |") and "±" in line]
    assert shown_there
    assert [line for line in shown_there if line not in expected] == []


@pytest.mark.parametrize("name", sorted(file.stem for file in (ROOT / "docs" / "results").glob("*.json")))
def test_results_say_when_and_with_what_they_were_made(name: str) -> None:
    made = results(name)["made_with"]
    assert {"date", "loratorio", "python", "torch", "threads", "machine"} <= made.keys()
    assert made["date"] in EVIDENCE and made["torch"].split("+")[0] in EVIDENCE
