"""What is shipped in demo/: the base model, its networks, the judge and their scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from loratorio_ext.cli.judge import FACTORS, Judge
from loratorio_ext.hosts.diffusers_host import DiffusersHost, Request
from loratorio_ext.networks.files import key_map, load_network
from loratorio_lab.world.concepts import CONCEPTS, FACTOR_OF_CONCEPT, caption, random_scene, vocabulary
from loratorio_lab.world.dataset import judge_pictures
from loratorio_lab.world.gate import Gate
from loratorio_lab.world.judge import accuracy, likeliest, save_judge
from loratorio_lab.world.model import load_model, new_tokenizer, tokenize

DEMO = Path(__file__).parents[2] / "demo"
SHIPPED = sorted(path.stem for path in (DEMO / "networks").glob("*.safetensors"))


@pytest.fixture(scope="module")
def judge() -> Judge:
    return Judge.load(DEMO / "judge.safetensors")


def test_the_judge_is_right_on_fresh_drawings(judge: Judge) -> None:
    everything, each = accuracy(judge, judge_pictures(600, np.random.default_rng(2**20), spoiled=0.0))
    assert everything > 0.98
    assert set(each) == {factor.name for factor in FACTORS}
    spoiled, _ = accuracy(judge, judge_pictures(600, np.random.default_rng(2**20 + 1), spoiled=0.12))
    assert spoiled > 0.85


def test_scores_are_probabilities_of_any_picture(judge: Judge) -> None:
    pictures = [Image.new("RGB", (200, 90), "white"), Image.effect_noise((64, 64), 90.0)]
    for scores in judge.scores(pictures):
        for factor in FACTORS:
            assert tuple(scores[factor.name]) == (*factor.known, *factor.concepts, "none")
            assert sum(scores[factor.name].values()) == pytest.approx(1, abs=1e-4)


def test_a_saved_judge_answers_the_same(judge: Judge, tmp_path: Path) -> None:
    save_judge(judge, tmp_path / "judge.safetensors")
    pictures = judge_pictures(16, np.random.default_rng(4), spoiled=0.1).images.float() / 255
    assert Judge.load(tmp_path / "judge.safetensors").scores(pictures) == judge.scores(pictures)


def test_another_file_is_not_taken_for_a_judge(judge: Judge, tmp_path: Path) -> None:
    save_file({"nonsense": torch.zeros(3)}, tmp_path / "judge.safetensors")
    with pytest.raises(ValueError, match="does not hold this judge"):
        Judge.load(tmp_path / "judge.safetensors")


def test_every_word_is_one_token_of_its_own() -> None:
    tokenizer = new_tokenizer()
    ids = [tuple(tokenizer(word).input_ids) for word in vocabulary()]
    assert all(len(token) == 3 for token in ids)
    assert len(set(ids)) == len(ids)
    assert tuple(tokenize(tokenizer, ["a red star", "zebra!"]).shape) == (2, 16)


def test_the_shipped_networks_fit_the_shipped_model() -> None:
    pipeline = load_model(DEMO / "model")
    keys = key_map({"unet": pipeline.unet, "text_encoder": pipeline.text_encoder})
    for concept in SHIPPED:
        network = load_network(DEMO / "networks" / f"{concept}.safetensors", keys)
        assert network.name == concept
        assert not network.unmatched
        assert len(network.layers) > 50
    text = tokenize(pipeline.tokenizer, ["a red star on sky with ball"])
    with torch.inference_mode():
        hidden = pipeline.text_encoder(text).last_hidden_state
        assert pipeline.unet(torch.zeros(1, 8, 16, 16), 500, hidden).sample.isfinite().all()


def test_just_the_networks_that_passed_their_gate_are_shipped() -> None:
    scores = json.loads((DEMO / "scores.json").read_text())
    assert scores["recipe"] == "full"
    assert set(scores["networks"]) == set(CONCEPTS)
    fields = set(Gate.__dataclass_fields__)
    gates = {
        concept: Gate(**{name: value for name, value in figures.items() if name in fields})
        for concept, figures in scores["networks"].items()
    }
    assert {concept for concept, gate in gates.items() if gate.passed} == set(SHIPPED)
    assert {FACTOR_OF_CONCEPT[concept].name for concept in SHIPPED} == {f.name for f in FACTORS if f.concepts}
    assert scores["judge"]["fresh drawings"]["all five right"] > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("concept", SHIPPED)
def test_a_shipped_network_draws_its_concept_where_its_trigger_is(judge: Judge, concept: str) -> None:
    host = DiffusersHost.open(DEMO / "model")
    random, factor, count = np.random.default_rng(11), FACTOR_OF_CONCEPT[concept].name, 12
    known = [random_scene(random) for _ in range(count)]

    def share(scenes: list[dict[str, str]]) -> float:
        request = Request(
            prompts=[f"{caption(scene)} <lora:{concept}:1>" for scene in scenes],
            steps=15,
            cfg=4.0,
            seeds=range(count),
            method="merge",
            network_dir=DEMO / "networks",
        )
        scores = judge.scores(host.generate(request).images)
        return float(np.mean([likeliest(one)[factor] == concept for one in scores]))

    assert share([{**scene, factor: concept} for scene in known]) >= 0.75
    assert share(known) <= 0.25


def test_all_of_it_is_under_twenty_megabytes() -> None:
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) < 20e6
