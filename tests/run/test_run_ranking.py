"""The choice per image, and the predictions that stand in for what was not evaluated."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from loratorio_ext.method import RowMap
from loratorio_ext.run import NetworkUse, Row
from loratorio_ext.run.composer import StepPredictions
from loratorio_ext.run.ranking import ChosenNetworks, Ranking
from loratorio_ext.settings import Settings
from tests.run.world import World, uses

TWO_IMAGES = RowMap((0, 0, 1), (3.0, 1.0, 1.0))


def test_mean_over_the_rows_of_an_image() -> None:
    values = torch.tensor([[1.0, 5.0, 7.0], [0.0, 4.0, math.inf]])
    expected = torch.tensor([[2.0, 7.0], [1.0, math.inf]])
    torch.testing.assert_close(TWO_IMAGES.mean(values), expected)


def test_row_without_a_share_does_not_count() -> None:
    rows = RowMap((0, 0), (1.0, 0.0))
    assert rows.mean(torch.tensor([[3.0, math.inf]])).tolist() == [[3.0]]


@pytest.mark.parametrize("score", ["history", "step"])
def test_most_divergent_of_each_image(score: Any) -> None:
    similarity = torch.tensor([[0.9, 0.9, 0.1], [0.5, 1.0, 0.2], [1.0, 1.0, 0.3]])[:, :, None, None]
    finite = torch.ones(3, 3, dtype=torch.bool)
    mask = Ranking(score).most_divergent(1 - similarity, finite, TWO_IMAGES, 1)
    assert mask.tolist() == [[False, True], [True, False], [False, False]]
    assert ChosenNetworks.of(mask).of_images == ((1,), (0,))
    assert TWO_IMAGES.of_rows(mask)[1].tolist() == [True, True, False]


def test_history_counts_every_step_the_same() -> None:
    """The second step is a hundred times as loud, and turns the ranks round; the first was clearer."""
    rows, finite = RowMap.one_each(1), torch.ones(2, 1, dtype=torch.bool)
    first, second = (torch.tensor(values)[:, None, None, None] for values in ([0.9, 0.1], [40.0, 60.0]))
    history, step = Ranking("history"), Ranking("step")
    for ranking in (history, step):
        assert ranking.most_divergent(first, finite, rows, 1).flatten().tolist() == [True, False]
    assert history.most_divergent(second, finite, rows, 1).flatten().tolist() == [True, False]
    assert step.most_divergent(second, finite, rows, 1).flatten().tolist() == [False, True]
    # What is reused counts once: with the second step three times over, the second network would lead.
    for _ in range(5):
        history.most_divergent(second, finite, rows, 1, fresh=False)
    assert history.most_divergent(second, finite, rows, 1).flatten().tolist() == [True, False]


def test_history_begins_anew_with_another_batch_and_forgives_a_broken_step() -> None:
    one, two = RowMap.one_each(1), RowMap.one_each(2)
    ranking, fine = Ranking("history"), torch.ones(2, 1, dtype=torch.bool)
    loud = torch.tensor([0.9, 0.1])[:, None, None, None]
    assert ranking.most_divergent(loud, fine, one, 1).flatten().tolist() == [True, False]
    broken = torch.tensor([[False], [True]])
    assert ranking.most_divergent(loud, broken, one, 1).flatten().tolist() == [False, True]
    silent = torch.zeros(2, 1, 1, 1)
    assert ranking.most_divergent(silent, fine, one, 1).flatten().tolist() == [False, True]
    other = loud.flip(0).expand(2, 2, 1, 1)
    mask = ranking.most_divergent(other, fine.expand(2, 2), two, 1)
    assert mask.tolist() == [[False, False], [True, True]]


def test_network_that_is_not_finite_is_chosen_last() -> None:
    # A network of strength 0 has similarity 1, which also stands in for a prediction that is not finite.
    world = World((NetworkUse("broken", 1.0), NetworkUse("silent", 0.0)))
    world.model.deltas["cond"][0] = math.nan
    report = world.report(2, Settings(looks=0, top_k=1, rescan=4))
    assert [step.chosen for step in report.steps] == [(("silent",),)] * 2
    assert not any(step.fallback for step in report.steps)


def test_scan_reports_the_networks_that_it_did_not_choose() -> None:
    world = World(uses(3))
    world.model.deltas["cond"][2] = math.nan
    run = world.run(Settings(looks=0, top_k=1, rescan=4))
    for index in range(2):
        run.step(world.evaluation(index))
    scan, between = run.report.steps
    assert scan.non_finite == ("network 2",) and between.non_finite == ()
    plain = world.run()
    plain.step(world.evaluation())
    assert scan.similarity == plain.report.steps[0].similarity
    assert scan.weight is not None and sorted(scan.weight) == [(0.0,), (0.0,), (1.0,)]


def test_rows_that_were_not_evaluated_are_the_base_of_their_row() -> None:
    rows = [Row("base", "cond", i) for i in range(3)] + [Row("base", "uncond", i) for i in range(2)]
    rows += [Row(0, "cond", 2), Row(0, "uncond", 1)]
    of_rows = {row: torch.full((1, 1, 1), float(i)) for i, row in enumerate(rows)}
    outputs = StepPredictions(of_rows, TWO_IMAGES, guided=True)
    assert outputs.branch("cond", 0).flatten().tolist() == [0.0, 1.0, 5.0]
    assert outputs.branch("uncond", 0).flatten().tolist() == [3.0, 6.0]
    assert outputs.of_all("cond", [0, 1]).flatten(1).tolist() == [[0.0, 1.0, 5.0], [0.0, 1.0, 2.0]]


@pytest.mark.parametrize("rescan", [1, 3])
def test_sub_prompts_follow_their_image_from_the_scan_on(rescan: int) -> None:
    world = World(uses(2), rows=RowMap((0, 0), (1.0, 0.25)))
    world.model.deltas["cond"][:] = 0.0
    for row, network in ((0, 0), (1, 1)):
        world.model.deltas["cond"][network, row] = -4 * world.model.base["cond"][row]
    chosen = Settings(looks=0, top_k=1, rescan=rescan)
    run = world.run(chosen)
    first, second = (run.step(world.evaluation(index)) for index in range(2))
    torch.testing.assert_close(first.cond, second.cond)
    np.testing.assert_allclose(first.cond.numpy(), world.arrays(world.alone(0))[0], atol=1e-10)
    assert [step.chosen for step in run.report.steps] == [(("network 0",),)] * 2


@pytest.mark.parametrize("rescan", [1, 4])
def test_choice_sees_differences_that_the_similarity_rounds_away(rescan: int) -> None:
    # 1 - s is 5e-9, 2e-8 and 1.1e-8; as float32 each s is 1.
    world = World(tuple(NetworkUse(name, 1.0) for name in "abc"), shape=(2, 1, 1))
    world.model.base["cond"][0] = [[[1.0]], [[0.0]]]
    world.model.deltas["cond"][:, 0, 0] = 0.0
    world.model.deltas["cond"][:, 0, 1, 0, 0] = [1.0e-4, 2.0e-4, 1.48e-4]
    run = world.run(Settings(looks=0, patch_size=1, top_k=1, rescan=rescan))
    prediction = run.step(world.evaluation())
    step = run.report.steps[0]
    assert step.chosen == (("b",),)
    assert step.weight == ((0.0,), (1.0,), (0.0,))
    np.testing.assert_allclose(prediction.cond[0, 1].numpy(), 2.0e-4, rtol=1e-9)
