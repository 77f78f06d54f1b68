"""How the rows of one model call are grouped: from strengths to stacked products.

A *segment* is a run of neighbouring rows with the same strengths. Neighbouring segments are stacked into one
*block* of several *slots*. Rows, segments and blocks count batch rows, not tokens. Rows that place networks
make segments of their own, which are never stacked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

Table = tuple[tuple[float, ...], ...]
"""Strengths [rows][networks]; beside the check, only `segments_of` reads them."""


class Term(NamedTuple):
    """How one network acts in a row; the strength is not 0."""

    network: int
    strength: float


Terms = tuple[Term, ...]
"""Every network that acts in a row, in the networks' order."""


@dataclass(frozen=True)
class Block:
    """Neighbouring slots of `slot_rows` rows each, from row `start` on; slots[i] are the terms of slot i.

    A segment is a block of one slot. placed: every network acts by its map (`places.Places`).
    """

    start: int
    slot_rows: int
    slots: tuple[Terms, ...]
    placed: bool = False

    @property
    def rows(self) -> int:
        """Number of rows that the block covers."""
        return self.slot_rows * len(self.slots)


def segments_of(
    table: Sequence[Sequence[float]], placed: Collection[int], touching: frozenset[int]
) -> tuple[Block, ...]:
    """The rows on which any of the `touching` networks acts, as maximal segments in row order."""
    segments: list[Block] = []
    for index, row in enumerate(table):
        terms = tuple(Term(i, value) for i, value in enumerate(row) if value != 0.0 and i in touching)
        last = segments[-1] if segments else None
        alike = last is not None and (last.slots, last.placed) == ((terms,), index in placed)
        if last is not None and alike and last.start + last.slot_rows == index:
            segments[-1] = replace(last, slot_rows=last.slot_rows + 1)
        elif terms:
            segments.append(Block(index, 1, (terms,), index in placed))
    return tuple(segments)


def blocks_of(segments: Sequence[Block], rank_of: Callable[[Terms], int]) -> tuple[Block, ...]:
    """Stack neighbouring segments while the padding stays cheap.

    rank_of: total rank of a slot's terms in this layer. Two kinds of waste are bounded: the ranks padded to
    the largest of the block, and slots repeated where segments have unequal numbers of rows; a segment that
    would more than double either starts a block of its own.
    """
    groups: list[list[Block]] = []
    for segment in segments:
        last = groups[-1][-1] if groups else None
        neighbours = last is not None and last.start + last.slot_rows == segment.start
        neighbours = neighbours and not (segment.placed or (last is not None and last.placed))
        if neighbours and _stackable([*groups[-1], segment], rank_of):
            groups[-1].append(segment)
        else:
            groups.append([segment])
    return tuple(map(_stacked, groups))


def _stackable(group: Sequence[Block], rank_of: Callable[[Terms], int]) -> bool:
    counts = [segment.slot_rows for segment in group]
    ranks = [rank_of(segment.slots[0]) for segment in group]
    slots = sum(counts) // math.gcd(*counts)
    padded = max(ranks) * sum(counts)
    used = sum(rank * count for rank, count in zip(ranks, counts, strict=True))
    return slots <= 2 * len(group) and padded <= 2 * used


def _stacked(group: Sequence[Block]) -> Block:
    slot_rows = math.gcd(*(segment.slot_rows for segment in group))
    slots = tuple(segment.slots[0] for segment in group for _ in range(segment.slot_rows // slot_rows))
    return Block(group[0].start, slot_rows, slots, group[0].placed)
