"""How the rows of one model call are grouped: from strengths to stacked products.

A *segment* is a run of neighbouring rows with the same strengths. A *block* is a run of neighbouring
segments whose products are stacked into one pair: it is cut into *slots* of equally many rows, and every
slot has its own terms. Rows, segments and blocks count batch rows, not tokens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

Table = tuple[tuple[float, ...], ...]
"""Strengths [rows][networks]; only `segments_of` reads them."""


class Term(NamedTuple):
    """How one network acts in a row; the strength is not 0."""

    network: int
    strength: float


Terms = tuple[Term, ...]
"""Every network that acts in a row, in the networks' order."""


@dataclass(frozen=True)
class Segment:
    """`count` rows from row `start` on, all with the same terms."""

    start: int
    count: int
    terms: Terms


@dataclass(frozen=True)
class Block:
    """Neighbouring slots of `slot_rows` rows each, from row `start` on; slots[i] are the terms of slot i."""

    start: int
    slot_rows: int
    slots: tuple[Terms, ...]

    @property
    def rows(self) -> int:
        """Number of rows that the block covers."""
        return self.slot_rows * len(self.slots)


def check_strengths(strengths: Sequence[Sequence[float]], networks: int) -> Table:
    """The strengths [rows][networks] as a hashable table of floats.

    Raises ValueError where there is no row, a row has another length, or a strength is not a finite number.
    """
    if len(strengths) == 0:
        raise ValueError("strengths has no rows; a model call needs at least one row")
    table = tuple(tuple(map(float, row)) for row in strengths)
    for index, row in enumerate(table):
        if len(row) != networks:
            raise ValueError(
                f"strengths[{index}] has {len(row)} values; it needs one for each of {networks} networks"
            )
        if not all(map(math.isfinite, row)):
            raise ValueError(f"strengths[{index}] is {row}; strengths must be finite numbers")
    return table


def segments_of(table: Sequence[Sequence[float]], touching: frozenset[int]) -> tuple[Segment, ...]:
    """The rows on which any of the `touching` networks acts, as maximal segments in row order."""
    segments: list[Segment] = []
    for index, row in enumerate(table):
        terms = tuple(Term(i, value) for i, value in enumerate(row) if value != 0.0 and i in touching)
        if not terms:
            continue
        last = segments[-1] if segments else None
        if last is not None and last.start + last.count == index and last.terms == terms:
            segments[-1] = Segment(last.start, last.count + 1, terms)
        else:
            segments.append(Segment(index, 1, terms))
    return tuple(segments)


def blocks_of(segments: Sequence[Segment], rank_of: Callable[[Terms], int]) -> tuple[Block, ...]:
    """Stack neighbouring segments while the padding stays cheap.

    rank_of: total rank of a slot's terms in this layer. Two kinds of waste are bounded: the ranks padded to
    the largest of the block, and slots repeated where segments have unequal numbers of rows; a segment that
    would more than double either starts a block of its own.
    """
    blocks: list[Block] = []
    group: list[Segment] = []
    for segment in segments:
        neighbours = bool(group) and group[-1].start + group[-1].count == segment.start
        if group and not (neighbours and _stackable([*group, segment], rank_of)):
            blocks.append(_block(group))
            group = []
        group.append(segment)
    if group:
        blocks.append(_block(group))
    return tuple(blocks)


def _stackable(group: Sequence[Segment], rank_of: Callable[[Terms], int]) -> bool:
    counts = [segment.count for segment in group]
    ranks = [rank_of(segment.terms) for segment in group]
    slots = sum(counts) // math.gcd(*counts)
    padded = max(ranks) * sum(counts)
    used = sum(rank * count for rank, count in zip(ranks, counts, strict=True))
    return slots <= 2 * len(group) and padded <= 2 * used


def _block(group: Sequence[Segment]) -> Block:
    slot_rows = math.gcd(*(segment.count for segment in group))
    slots = tuple(segment.terms for segment in group for _ in range(segment.count // slot_rows))
    return Block(group[0].start, slot_rows, slots)
