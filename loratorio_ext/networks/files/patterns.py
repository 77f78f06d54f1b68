r"""How long matching a regular expression of a stranger may take, told before it runs.

`re` tries one way after the other and cannot be interrupted, so a bound is needed beforehand. A repeat counts
as many ways only where what follows it may begin with the same characters: `\d+\.` has one, `.*to_q` many.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

PATH = 100
"""Characters of a module path, about."""
_MOST = 10**9
_TOKEN = re.compile(
    r"(?P<repeat>[*+?][?+]?|\{(?=[\d,])(?P<low>\d*)(?P<to>,?)(?P<high>\d*)\}[?+]?)"
    r"|\((?P<group>\?(?:[aimsu]*(?:-[ims]+)?:|P<\w+>|(?P<look><?[=!])))?"
    r"|(?P<set>\[\^?\]?(?:\\.|[^\]\\])*\]|\\[dDwWsS])|(?P<end>[$^]|\\[AZ])|(?P<border>\\[bB])|\\?(?P<one>.)",
    re.DOTALL,
)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_ALL = frozenset(map(chr, range(128))) - {"\n"}
_TEXT = "".join(sorted(_ALL))

Characters = frozenset[str]


class _Node(NamedTuple):
    """A part of a pattern: what it may begin with (in small letters), and whether it may match nothing.

    work: what may follow it → (in how many ways it may match at one place, steps for all of them).
    """

    first: Characters
    empty: bool
    work: Callable[[Characters], tuple[int, int]]


def _one(characters: Characters, empty: bool = False) -> _Node:
    return _Node(frozenset(map(str.lower, characters)), empty, lambda _: (1, 1))


def _sequence(nodes: Sequence[_Node]) -> _Node:
    first: Characters = frozenset()
    for node in reversed(nodes):
        first = node.first | (first if node.empty else frozenset())

    def work(follow: Characters) -> tuple[int, int]:
        ways, steps = 1, 0
        for node in reversed(nodes):
            of_node, own = node.work(follow)
            ways, steps = min(ways * of_node, _MOST), min(own + of_node * steps, _MOST)
            follow = node.first | (follow if node.empty else frozenset())
        return ways, steps

    return _Node(first, all(node.empty for node in nodes), work)


def _choice(nodes: Sequence[_Node]) -> _Node:
    first = frozenset[str]().union(*(node.first for node in nodes))
    empty = any(node.empty for node in nodes)
    apart = not empty and len(first) == sum(len(node.first) for node in nodes)

    def work(follow: Characters) -> tuple[int, int]:
        ways, steps = zip(*(node.work(follow) for node in nodes), strict=True)
        return (max if apart else sum)(ways), sum(steps)

    return nodes[0] if len(nodes) == 1 else _Node(first, empty, work)


def _repeated(node: _Node, low: int, high: int) -> _Node:
    def work(follow: Characters) -> tuple[int, int]:
        ways, steps = node.work(follow | node.first if high > 1 else follow)
        powers, tried, ends = 1, 0, 0
        for count in range(min(high, PATH) + 1):
            tried, ends = min(tried + powers, _MOST), min(ends + (powers if count >= low else 0), _MOST)
            powers = min(powers * ways, _MOST)
        apart = ways == 1 and not node.empty and node.first.isdisjoint(follow)
        return 1 if apart else max(ends, 1), min(tried * steps, _MOST)

    return _Node(node.first, node.empty or low == 0, work)


class _Reader:
    def __init__(self, pattern: str) -> None:
        self._pattern, self._at = pattern, 0

    def choice(self, inside: bool = False) -> _Node:
        """Alternatives up to the end of the group or the pattern."""
        nodes = [self._sequence()]
        while self._pattern.startswith("|", self._at):
            self._at += 1
            nodes.append(self._sequence())
        if self._pattern[self._at : self._at + 1] != (")" if inside else ""):
            raise ValueError("its parentheses do not match")
        self._at += 1
        return _choice(nodes)

    def _sequence(self) -> _Node:
        nodes: list[_Node] = []
        while self._at < len(self._pattern) and self._pattern[self._at] not in "|)":
            node = self._atom()
            found = _TOKEN.match(self._pattern, self._at)
            if found is not None and found["repeat"] is not None:
                self._at = found.end()
                low, high = {"*": (0, PATH), "+": (1, PATH), "?": (0, 1)}.get(
                    found["repeat"][0], (int(found["low"] or 0), int(found["high"] or PATH))
                )
                node = _repeated(node, low, low if found["to"] == "" else high)
            nodes.append(node)
        return _sequence(nodes)

    def _atom(self) -> _Node:
        found = _TOKEN.match(self._pattern, self._at)
        if found is None or found["repeat"] is not None:
            raise ValueError("a part of it repeats nothing, or is of a kind that is not allowed")
        self._at = found.end()
        if found["set"] is not None:
            return _one(frozenset(re.findall(found["set"], _TEXT)))
        if found["one"] is not None:
            return _one(_ALL if found[0] == "." else frozenset(found["one"]))
        if found["end"] is not None or found["border"] is not None:
            return _one(frozenset() if found["end"] else _ALL)
        node = self.choice(inside=True)
        if found["look"] is None:
            return node
        return _Node(_ALL, False, lambda _: (1, node.work(_ALL)[1]))  # one way in, whatever is in it


def steps(pattern: str) -> int:
    r"""A bound on the steps that matching a pattern at one place of a module path takes, 10⁹ for more.

    Raises:
        ValueError: it is none, or one of a kind whose time is not bounded here, such as a group again (\1).
    """
    if not re.search(r"[*+?{|()\[\\]", pattern):
        return len(pattern)
    if not pattern.isascii() or any(
        one.isalnum() and one not in "dDwWsSbBAZ" for one in _ESCAPED.findall(pattern)
    ):
        raise ValueError(r"it has characters beyond ASCII, or an escape other than \d, \w, \s, \b and signs")
    return _Reader(pattern).choice().work(frozenset())[1]
