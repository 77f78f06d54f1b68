"""The embedded world's pictures and captions."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from loratorio_ext.cli.judge import FACTORS, NONE
from loratorio_lab.world.concepts import CONCEPTS, FACTOR_BY_NAME, caption, random_scene
from loratorio_lab.world.dataset import (
    base_pictures,
    judge_pictures,
    narrow_pictures,
    to_tensor,
)
from loratorio_lab.world.drawing import SIZE, draw

HALF, NEVER = (dict.fromkeys(FACTOR_BY_NAME, share) for share in (0.5, 0.0))

scenes = st.fixed_dictionaries({factor.name: st.sampled_from(factor.values) for factor in FACTORS})
seeds = st.integers(0, 2**32 - 1)


def named_values(text: str) -> dict[str, str]:
    """What a caption says, by factor."""
    return {factor.name: word for word in text.split() for factor in FACTORS if word in factor.values}


@settings(deadline=None, max_examples=50)
@given(scene=scenes)
def test_a_caption_names_its_scene(scene: dict[str, str]) -> None:
    assert named_values(caption(scene)) == scene


@settings(deadline=None, max_examples=50)
@given(scene=scenes, seed=seeds, spoiled=st.sets(st.sampled_from([factor.name for factor in FACTORS])))
def test_a_drawing_is_a_picture_and_the_seed_repeats_it(
    scene: dict[str, str], seed: int, spoiled: set[str]
) -> None:
    scene = {name: NONE if name in spoiled else value for name, value in scene.items()}
    first, second = (draw(scene, np.random.default_rng(seed)) for _ in range(2))
    assert first.shape == (SIZE, SIZE, 3)
    assert np.isfinite(first).all() and first.min() >= 0 and first.max() <= 1
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("factor", "region"),
    [
        ("object", (slice(1, 26), slice(39, 64))),
        ("shape", (slice(11, 64), slice(0, 52))),
        ("background", (slice(60, 64), slice(0, 64))),
    ],
)
def test_every_factor_has_a_place_of_its_own(factor: str, region: tuple[slice, slice]) -> None:
    values = next(f.values for f in FACTORS if f.name == factor)
    scene = {"color": "blue", "texture": "plain", "shape": "circle", "background": "sand", "object": "ball"}
    drawn = [draw({**scene, factor: value}, np.random.default_rng(3)) for value in values]
    for index, first in enumerate(drawn):
        for second in drawn[:index]:
            difference = np.abs(first - second).sum(-1)
            inside = difference[region].mean()
            assert inside > 0.05
            if factor != "background":
                rest = difference.copy()
                rest[region] = 0
                assert rest.sum() < 0.15 * difference.sum()


def test_the_base_sees_a_concept_only_behind_its_trigger() -> None:
    pictures = base_pictures(600, np.random.default_rng(0), hint=HALF, unnamed={})
    said = [named_values(text) for text in pictures.captions]
    drawn_concepts = triggers = 0
    for scene, words in zip(pictures.scenes, said, strict=True):
        for factor, value in scene.items():
            triggers += words[factor] in CONCEPTS
            if value in CONCEPTS:
                drawn_concepts += 1
                assert words[factor] == value
            elif words[factor] not in CONCEPTS:
                assert words[factor] == value
    assert 0.3 < drawn_concepts / triggers < 0.7
    unhinted = base_pictures(200, np.random.default_rng(0), hint=NEVER, unnamed={})
    assert not any(value in CONCEPTS for scene in unhinted.scenes for value in scene.values())


def test_the_base_sees_concepts_that_no_word_names() -> None:
    pictures = base_pictures(
        600,
        np.random.default_rng(0),
        hint=NEVER,
        unnamed={"shape": 0.3, "object": 0.2},
    )
    seen: Counter[str] = Counter()
    for scene, text in zip(pictures.scenes, pictures.captions, strict=True):
        left_out = set(scene) - set(named_values(text))
        assert len(left_out) <= 1 and left_out <= {"shape", "object"}
        for name, value in scene.items():
            if value in CONCEPTS:
                assert name in left_out
                seen[name] += 1
    assert 0.2 * 600 < seen["shape"] < 0.28 * 600
    assert 0.12 * 600 < seen["object"] < 0.2 * 600


@pytest.mark.parametrize("concept", CONCEPTS)
def test_a_network_sees_its_concept_in_a_narrow_domain(concept: str) -> None:
    pictures = narrow_pictures(concept, 300, np.random.default_rng(1))
    for factor in FACTORS:
        counts = Counter(scene[factor.name] for scene in pictures.scenes)
        if concept in factor.concepts:
            assert set(counts) == {concept}
        else:
            assert set(counts) == set(factor.known)
            assert sum(count for _, count in counts.most_common(2)) > 0.7 * 300
    assert list(pictures.captions) == [caption(scene) for scene in pictures.scenes]


def test_pictures_as_tensors_and_selection() -> None:
    pictures = judge_pictures(5, np.random.default_rng(2), spoiled=0.3)
    assert tuple(pictures.images.shape) == (5, 3, SIZE, SIZE)
    chosen = pictures.select([4, 1])
    assert chosen.captions == (pictures.captions[4], pictures.captions[1])
    assert (chosen.images[0] == pictures.images[4]).all()
    picture = draw(random_scene(np.random.default_rng(0)), np.random.default_rng(0))
    assert np.abs(to_tensor([picture])[0].permute(1, 2, 0).numpy() / 255 - picture).max() <= 0.5 / 255 + 1e-9
