"""Pools: how loud what fills them up is, what counts as a right choice, and the command from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from loratorio_ext.settings import Settings
from loratorio_lab.evaluate.arms import Sampling
from loratorio_lab.evaluate.distractors import build_pool, loudness
from loratorio_lab.evaluate.engine import Batch
from loratorio_lab.evaluate.options import with_defaults
from loratorio_lab.evaluate.pool import FIGURES, NAMED, Choice, PoolSuite, draw, pool_arms
from loratorio_lab.evaluate.summary import cells_of, grouped, table
from loratorio_lab.evaluate.worlds import World, scene_tasks
from loratorio_lab.main import main, parser
from loratorio_lab.world.concepts import CONCEPTS

DEMO = Path(__file__).parents[2] / "demo"
TASKS = scene_tasks(2, 24, "development")


def arms(**changes: Any) -> Any:
    options = {"sizes": [8, 16], "keeps": [1, 2], "rescans": [1, 5], **changes}
    return pool_arms(Settings(enabled=True), Sampling(2, 4.0), **options)


def test_arms_differ_in_what_their_name_says() -> None:
    by_name = {one.name: one for one in arms()}
    assert len(by_name) == len(arms()) == 1 + 2 * (1 + 2 * 3 + 1)
    assert (by_name[NAMED].size, by_name[NAMED].settings.pool) == (0, "")
    assert {one.settings.pool for name, one in by_name.items() if name != NAMED} == {"*"}
    assert by_name["pool 16: merged"].method == "merge"
    chosen = by_name["pool 16: k=2 per image, rescan 5"].settings
    assert (chosen.top_k, chosen.top_k_scope, chosen.rescan) == (2, "image", 5)
    assert by_name["pool 8: k=1 per patch"].settings.top_k_scope == "patch"
    words = {name for name, one in by_name.items() if one.size and one.settings.pool_by == "words"}
    assert words == {"pool 8: by words", "pool 16: by words"}


def test_pictures_share_a_batch_where_no_tag_tells_them_apart(tools: Any) -> None:
    command = ["evaluate", "--suite", "pool", "--networks", "2", "--pictures", "24"]
    suite = PoolSuite(with_defaults(parser().parse_args(command)), tools)
    shares = {arm.name: {suite.share(arm, task) for task in suite.tasks} for arm in suite.arms}
    assert len(shares.pop(NAMED)) == 24
    for name in [name for name in shares if name.endswith("by words")]:
        assert len(shares.pop(name)) == 24
    assert {len(share) for share in shares.values()} == {1}


class Speaker:
    """A host whose report says that some networks acted, with these weights, at each of two steps."""

    def __init__(self, acting: list[tuple[str, ...]], weights: dict[str, list[float]]) -> None:
        self.requests: list[Any] = []
        said = [tuple((values[step],) for values in weights.values()) for step in range(2)]
        steps = [
            SimpleNamespace(mode="composed", chosen=(names,), weight=weight)
            for names, weight in zip(acting, said, strict=True)
        ]
        totals = SimpleNamespace(rows=30, plain_rows=4)
        self.report = SimpleNamespace(totals=totals, composed=tuple(weights), steps=steps)

    def generate(self, request: Any, on_step: Any = None) -> Any:
        self.requests.append(request)
        return SimpleNamespace(report=self.report, images=[None])


class Seer:
    def scores(self, images: Any) -> Any:
        return [{"shape": {"star": 0.9, "none": 0.1}} for _ in images]


def test_right_weight_and_stable_are_counted_by_step() -> None:
    task = TASKS[0]
    first, second = task.networks
    weights = {first: [0.5, 0.25], "x": [0.5, 0.0], second: [0.0, 0.75]}
    host = Speaker([(first, "x"), (first, second)], weights)
    world = World("demo", host, Seer(), Path("networks"))
    (got,) = draw({"demo": world}, Path("pools"), Batch(arms()[2], "demo", (task,)))
    assert (got.right, got.weight, got.stable) == ([0.5, 1.0], [0.5, 1.0], [0.5])
    assert (got.rows, got.plain_rows, got.answers) == (30, 4, {"shape": "star"})
    (request,) = host.requests
    assert "<lora" not in request.prompts[0] and request.network_dir == Path("pools", "demo", "8")


def test_the_table_pairs_with_the_networks_named_by_hand() -> None:
    def choice(arm: str, task: Any, right: float, found: bool) -> Choice:
        answers = dict(task.scene) if found else {}
        return Choice(arm, "demo", task.key, answers, 20.0, 4.0, [0.0, right], [0.1, right], [0.5])

    chosen = "pool 8: k=2 per image"
    results = [choice(NAMED, task, 1.0, True) for task in TASKS]
    results += [choice(chosen, task, 0.5, place % 2 == 0) for place, task in enumerate(TASKS)]
    cells = cells_of(grouped(results, [NAMED, chosen], ["demo"], TASKS, NAMED), FIGURES)
    named, pool = (values for _, values in cells)
    assert list(pool) == ["presence", "ahead", "complete", "right", "weight", "stable", "ratio"]
    assert (named["presence"].mean, named["ahead"]) == (1.0, None)
    assert (pool["presence"].mean, pool["ahead"].mean, pool["complete"]) == (0.5, -0.5, 0.5)
    assert (pool["right"], pool["weight"], pool["stable"]) == ((0.0, 0.5), (0.1, 0.5), 0.5)
    line = "| 0.500 | 0.00 0.25 0.50 | 0.10 0.30 0.50 | 0.50 | 5.00 | 24 |"
    assert line in table(("concepts", "way"), FIGURES, cells[1:])


@pytest.fixture(scope="module")
def host() -> Any:
    from loratorio_ext.hosts.diffusers_host import DiffusersHost

    return DiffusersHost.open(DEMO / "model", "cpu", offline=True)


def test_distractors_are_as_loud_as_quiet_networks_and_the_same_everywhere(host: Any, tmp_path: Path) -> None:
    (tmp_path / "one.part").mkdir()  # left by a kill
    build_pool(tmp_path / "one", 10, DEMO / "networks", host, seed=1)
    build_pool(tmp_path / "two", 10, DEMO / "networks", host, seed=1)
    names = sorted(path.stem for path in (tmp_path / "one").iterdir())
    assert names == sorted([*CONCEPTS, "other-01", "other-02"])
    for name in names:
        one, two = (load_file(tmp_path / pool / f"{name}.safetensors") for pool in ("one", "two"))
        assert all(torch.equal(one[key], two[key]) for key in one) and one.keys() == two.keys()
    loud = loudness(host, tmp_path / "one", seed=1)
    quiet = sum(loud[concept] for concept in CONCEPTS) / len(CONCEPTS)
    for name in ("other-01", "other-02"):
        assert 0.2 * quiet < loud[name] < 5 * quiet
    with pytest.raises(ValueError, match="give at least 8"):
        build_pool(tmp_path / "three", 7, DEMO / "networks", host, seed=1)


def test_the_command(tmp_path: Path, capsys: Any) -> None:
    command = f"evaluate --suite pool --out {tmp_path / 'p'} --pool-sizes 8 --keep 2".split()
    command += ["--networks", "2", "--pictures", "2", "--steps", "2", "--quiet"]
    assert main(command) == 0
    first = capsys.readouterr().out
    assert main(command) == 0  # nothing is drawn again
    assert capsys.readouterr().out == first
    results = json.loads((tmp_path / "p" / "results.json").read_text())
    ways = [NAMED, *(f"pool 8: {one}" for one in ("merged", "k=2 per image", "k=2 per patch", "by words"))]
    assert [cell["arm"] for cell in results["cells"]] == ways
    assert [cell["ratio"] for cell in results["cells"]] == [1.5, 1.0, 3.0, 3.0, 1.5]
    assert main([*command, "--keep", "3"]) == 2
    assert "another arms" in capsys.readouterr().err
