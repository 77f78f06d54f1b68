"""Our arguments of a tag: whether a network is composed, where and at which steps. Imports no torch.

`<lora:knight:1:at=left:steps=0-0.4>`. The WebUIs split a tag at `:` and leave named arguments alone that they
do not know, so no value has a `:` in it.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from loratorio_ext.networks.problems import Problem, shown

OWN = ("compose", "at", "steps", "fade", "cond", "uncond")
"""Our arguments."""

SOFT_EDGE = 0.06
"""Width of an area's soft edge, as a fraction of the picture; half of it lies outside."""

_HALVES = MappingProxyType(
    {"left": (0, 0.0, 0.5), "right": (0, 0.5, 1.0), "top": (1, 0.0, 0.5), "bottom": (1, 0.5, 1.0)}
)
_SWITCH = MappingProxyType(
    {"on": True, "true": True, "yes": True, "1": True, "off": False, "false": False, "no": False, "0": False}
)
AT_TAKES = Problem(
    "give left, right, top, bottom, middle, two of them (top-left), fractions such as 0.5-1,0-1, "
    "or a mask such as 1100/1100/0000"
)
MASK_TAKES = Problem(
    "give 1 to 16 rows with / between them, all of the same length, each of 1 to 16 digits 0 or 1, "
    "and not all of them 0, such as 1100/1100/0000"
)
STEPS_TAKES = Problem(
    "give two fractions of the steps, the first not above the second, such as 0-0.4, "
    "or two numbers of steps, such as 5-10 or 0-1 steps"
)
FADE_TAKES = Problem("give two factors from 0 to 10, such as 1-0")
# Of 17 cells the soft edges would overlap.
_MASK = re.compile(r"[01]{1,16}(?:/[01]{1,16}){0,15}")
_LIKE_A_MASK = re.compile(r"[01]+|.*/.*", re.DOTALL)
_WORD = re.compile(r"[\s_+-]+")
_NUMBER = r"\s*(\d{1,6}(?:\.\d{0,12})?|\.\d{1,12})\s*"
_RANGE = re.compile(rf"{_NUMBER}-{_NUMBER}")
_COUNTS = re.compile(r"\s*([0-9]{1,6})\s*-\s*([0-9]{0,6})\s*(steps\s*)?")
_BLOCK_WEIGHT_STEPS = ("start", "stop", "step")


@dataclass(frozen=True)
class Area:
    """A rectangle of the picture, in fractions of its width and height counted from the top left corner.

    Attributes:
        cells: rows, from the top, of cells of equal size that divide it, all rows of the same length; 0: it
            may not speak in this cell, 1: it may.

    Raises:
        ValueError: 0 ≤ left < right ≤ 1 or 0 ≤ top < bottom ≤ 1 does not hold.
    """

    left: float = 0.0
    right: float = 1.0
    top: float = 0.0
    bottom: float = 1.0
    cells: tuple[tuple[int, ...], ...] = field(default=((1,),), kw_only=True)

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right <= 1 and 0 <= self.top < self.bottom <= 1):
            raise ValueError(AT_TAKES)

    @classmethod
    def parse(cls, text: str) -> Area:
        """What ``at=`` says: a word, two of them, a range of the width and one of the height, or a mask.

        A mask of nothing but 1 is the whole picture.

        Raises:
            ValueError: it is none of these, or a mask of nothing but 0; has the `Problem` that says so.
        """
        text = text.strip().lower()
        if _LIKE_A_MASK.fullmatch(text):
            return cls._masked(text)
        ranges = [_RANGE.fullmatch(part) for part in text.split(",")]
        if len(ranges) == 2 and all(ranges):
            sides = [float(side) for found in ranges if found is not None for side in found.groups()]
            return cls(*sides)
        sides = [0.0, 1.0, 0.0, 1.0]
        words = _WORD.split(text)
        if words in (["middle"], ["center"], ["centre"]):
            return cls(0.25, 0.75, 0.25, 0.75)
        taken = set()
        for word in words:
            if word not in _HALVES or _HALVES[word][0] in taken:
                raise ValueError(AT_TAKES)
            axis, *half = _HALVES[word]
            taken.add(axis)
            sides[2 * axis : 2 * axis + 2] = half
        return cls(*sides)

    @classmethod
    def _masked(cls, text: str) -> Area:
        rows = text.split("/")
        if not _MASK.fullmatch(text) or len({len(row) for row in rows}) > 1 or "1" not in text:
            raise ValueError(MASK_TAKES)
        return cls(cells=tuple(tuple(map(int, row)) for row in rows)) if "0" in text else cls()

    def shares(self, axis: int, count: int) -> list[list[float]]:
        """For each column (axis 0) or row (axis 1) of cells: how far ``count`` places lie in it, in [0, 1].

        The edge is soft, except where it is the picture's: two areas that share one sum to 1 there, and so do
        neighboring cells.
        """
        low, high = ((self.left, self.right), (self.top, self.bottom))[axis]
        parts = (len(self.cells[0]), len(self.cells))[axis]
        edges = [*(low + (high - low) * part / parts for part in range(parts)), high]
        found = []
        for begin, end in itertools.pairwise(edges):
            along = []
            for place in range(count):
                at = (place + 0.5) / count
                after = 1.0 if begin == 0 else (at - begin) / SOFT_EDGE + 0.5
                before = 1.0 if end == 1 else (end - at) / SOFT_EDGE + 0.5
                along.append(min(1.0, max(0.0, after)) * min(1.0, max(0.0, before)))
            found.append(along)
        return found


@dataclass(frozen=True)
class Window:
    """At which part of the steps a network acts, and how its strength changes over them.

    Attributes:
        start: fraction of the steps after which it begins to act, in [0, 1].
        end: fraction of the steps after which it acts no longer; 1: it acts to the end.
        first: factor of its strength at the beginning of the window, in [0, 10].
        last: the same at its end.
        counted: start and end are numbers of evaluations instead, and end may be infinite.
    """

    start: float = 0.0
    end: float = 1.0
    first: float = 1.0
    last: float = 1.0
    counted: bool = False

    @classmethod
    def parse(cls, steps: str = "", fade: str = "") -> Window:
        """What ``steps=`` and ``fade=`` say; "" is what they mean where they are not given.

        Raises:
            ValueError: one of them cannot be; says what it takes.
        """
        counts = _COUNTS.fullmatch(steps)
        counted = counts is not None and (not counts[2] or bool(counts[3]) or int(counts[2]) > 1)
        if counted and counts is not None:
            start, end = float(counts[1]), float(counts[2] or math.inf)
        else:
            start, end = _pair(steps or "0-1", 1.0, STEPS_TAKES)
        if start > end:
            raise ValueError(STEPS_TAKES)
        return cls(start, end, *_pair(fade or "1-1", 10.0, FADE_TAKES), counted)

    @property
    def always(self) -> bool:
        """Whether it acts at every step at its full strength."""
        return self == Window()

    @property
    def never(self) -> bool:
        """Whether it acts at no step."""
        return self.start >= self.end or self.first == self.last == 0

    def factor(self, index: int, total: int) -> float:
        """What its strength is multiplied by at evaluation ``index`` of ``total``; 0: it does not act.

        Fractions are counted as the settings start and end are: from evaluation ⌈start · total⌉ on, before
        ⌈end · total⌉.
        """
        unit = 1 if self.counted else total
        first = math.ceil(self.start * unit - 1e-6)
        ends = self.end < (math.inf if self.counted else 1)
        behind = math.ceil(self.end * unit - 1e-6) if ends else max(total, index + 1)
        if not first <= index < behind:
            return 0.0
        way = (index - first) / max(behind - 1 - first, 1)
        return self.first + (self.last - self.first) * way


@dataclass(frozen=True)
class OwnArguments:
    """What our arguments of a tag say; texts as they stand in it, checked.

    compose: False keeps the network merged everywhere. at: where it may speak, as `Area.parse` reads it.
    steps, fade: at which steps it acts, as `Window.parse` reads them. "": not given. cond: False keeps it out
    of every conditional prediction; it then shares no places and acts merged in the unconditional. uncond:
    whether it acts, merged, in the unconditional prediction; None: as a network does without a word on it.
    blocks: weights of its blocks, as `BlockWeights.parse` reads them; only where a host asks for them.
    """

    compose: bool = True
    at: str = ""
    steps: str = ""
    fade: str = ""
    cond: bool = True
    uncond: bool | None = None
    blocks: str = ""

    @property
    def never(self) -> bool:
        """Whether it acts nowhere or at no step."""
        return Window.parse(self.steps, self.fade).never or (not self.cond and self.uncond is False)

    @property
    def composed(self) -> bool:
        """Whether it shares the picture's places with others."""
        return self.compose and self.cond

    @property
    def as_merged(self) -> bool:
        """Whether it acts as if no argument of ours had been given to a network that is kept merged."""
        return not self.compose and self.cond and self.uncond is not False and not self.steps + self.fade


def own_arguments(named: Mapping[str, str]) -> tuple[OwnArguments, list[Problem]]:
    """(our arguments among the named ones of a tag, what is wrong with those that are left out)."""
    given = {key.strip(" "): value.strip(" ") for key, value in named.items()}
    problems: list[Problem] = []
    switches: dict[str, bool] = {}
    for name in ("compose", "cond", "uncond"):
        text = given.get(name, "").lower()
        if text in _SWITCH:
            switches[name] = _SWITCH[text]
        elif name in given:
            wrong = {"argument": name, "value": shown(text, 24)}
            problems.append(Problem("{argument} is {value}; give on or off (1 or 0); left out", wrong))
    if switches.get("cond") is switches.get("uncond") is False:
        problems.append(Problem("cond and uncond are both off, so it acts nowhere"))
    found = {"steps": block_weight_steps(named) or ""}
    found |= {name: given[name] for name in ("at", "steps", "fade") if name in given}
    for name in ("compose", "cond"):
        if "at" in found and switches.get(name) is False:
            del found["at"]
            left_out = {"argument": name}
            problems.append(
                Problem("{argument} is off, so it shares no places, and at has no effect", left_out)
            )
    for name, parse in _CHECKS.items():
        takes = _takes(parse, found[name] or "-") if name in given and name in found else None
        if takes is not None:
            values = {"argument": name, "value": shown(found.pop(name), 24), "takes": takes}
            problems.append(Problem("{argument} is {value}; {takes}; left out", values))
    return OwnArguments(**switches, **found), problems  # type: ignore[arg-type]


def block_weight_steps(named: Mapping[str, str]) -> str | None:
    """``steps=`` for what sd-webui-lora-block-weight understands of a tag: ``start=``, ``stop=``, ``step=``.

    They count steps: a network acts after ``start`` of them and until ``stop`` are done. None: the tag has no
    such argument, or what it says is unclear; then ``steps=`` counts alone.
    """
    given = {name: named[name].strip(" ") for name in _BLOCK_WEIGHT_STEPS if name in named}
    if not given or "steps" in named:
        return None
    start, _, stop = given.get("step", f"{given.get('start', '0')}-{given.get('stop', '')}").partition("-")
    text = f"{start}-{stop}"
    if stop.isdecimal() and int(stop) <= 1:  # else read as fractions
        text += " steps"
    if (
        ("step" in given and not stop)
        or _takes(Window.parse, text) is not None
        or not Window.parse(text).counted
    ):
        return None
    return text


def with_fade(items: Sequence[str]) -> list[str]:
    """A tag's items with ``fade=`` before two factors after ``steps=``; many write steps=0.2-0.6:0.8-0."""
    keys = ["", *(item.partition("=")[0].strip(" ") if "=" in item else "" for item in items)]
    return [
        f"fade={item}" if key == "steps" and "fade" not in keys and _RANGE.fullmatch(item) else item
        for key, item in zip(keys, items, strict=False)
    ]


def _takes(parse: Callable[[str], object], text: str) -> Problem | None:
    """What is to be given instead of the text; None: it can be parsed."""
    try:
        parse(text)
    except ValueError as error:
        (takes,) = error.args
        return takes  # type: ignore[no-any-return] # a Problem, by what these parsers raise
    return None


_CHECKS: Mapping[str, Callable[[str], object]] = MappingProxyType(
    {"at": Area.parse, "steps": Window.parse, "fade": lambda fade: Window.parse("", fade)}
)


def _pair(text: str, most: float, takes: Problem) -> tuple[float, float]:
    found = _RANGE.fullmatch(text)
    low, high = (float(one) for one in found.groups()) if found else (-1.0, -1.0)
    if not (0 <= low <= most and 0 <= high <= most):
        raise ValueError(takes)
    return low, high
