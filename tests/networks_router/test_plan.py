"""Rows grouped into segments and blocks: every row exactly once, with its own terms."""

from __future__ import annotations

import pytest
from hypothesis import given, settings, strategies as st

from loratorio_ext.networks.router import Router
from loratorio_ext.networks.router.plan import blocks_of, segments_of

TABLES = st.integers(1, 4).flatmap(
    lambda n: st.lists(
        st.lists(st.sampled_from([0.0, 0.0, 1.0, -0.5]), min_size=n, max_size=n), min_size=1, max_size=12
    )
)


@settings(deadline=None, max_examples=200)
@given(TABLES, st.sets(st.integers(0, 3)), st.lists(st.integers(1, 40), min_size=4, max_size=4))
def test_blocks_give_every_row_its_own_terms_once(
    table: list[list[float]], touching: set[int], ranks: list[int]
) -> None:
    wanted = [tuple((i, s) for i, s in enumerate(row) if s != 0 and i in touching) for row in table]
    segments = segments_of(table, (), frozenset(touching))
    blocks = blocks_of(segments, lambda terms: sum(ranks[i] for i, _ in terms))
    got = [()] * len(table)
    for block in blocks:
        assert block.rows == block.slot_rows * len(block.slots)
        for index, terms in enumerate(block.slots):
            for row in range(
                block.start + index * block.slot_rows, block.start + (index + 1) * block.slot_rows
            ):
                assert got[row] == ()
                got[row] = terms
    assert got == wanted


def test_equal_rows_of_several_networks_make_one_block() -> None:
    table = [[0.0] * 3] * 2 + [[float(i == j) for j in range(3)] for i in range(3) for _ in range(2)]
    (block,) = blocks_of(segments_of(table, (), frozenset({0, 1, 2})), lambda terms: 8)
    assert (block.start, block.slot_rows, len(block.slots)) == (2, 2, 3)


def test_rows_that_all_carry_the_same_networks_make_one_slot() -> None:
    (block,) = blocks_of(segments_of([[1.0, 0.5]] * 6, (), frozenset({0, 1})), lambda terms: 16)
    assert (block.start, block.slot_rows, len(block.slots)) == (0, 6, 1)


def test_a_large_rank_is_not_padded_onto_small_ones() -> None:
    table = [[float(i == j) for j in range(5)] for i in range(5)]
    blocks = blocks_of(
        segments_of(table, (), frozenset(range(5))), lambda terms: 128 if terms[0][0] == 4 else 4
    )
    assert [len(block.slots) for block in blocks] == [4, 1]


def test_long_and_short_segments_are_not_cut_into_many_slots() -> None:
    table = [[1.0, 0.0]] * 31 + [[0.0, 1.0]]
    blocks = blocks_of(segments_of(table, (), frozenset({0, 1})), lambda terms: 4)
    assert [(block.slot_rows, len(block.slots)) for block in blocks] == [(31, 1), (1, 1)]


@pytest.mark.parametrize(
    ("strengths", "message"),
    [
        ([], "no rows"),
        ([[1.0]], "each of 2 networks"),
        ([[1.0, float("nan")]], "finite"),
        ([[1.0, 0.0], [float("inf"), 0.0]], r"strengths\[1\]"),
    ],
)
def test_bad_strengths_are_named(strengths: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message), Router({}, [{}, {}]).routing(strengths):
        pass
