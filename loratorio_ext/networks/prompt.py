"""What a prompt says of networks: tags and names. Imports no torch.

Grammar of a tag `<lora:name:te:unet:dyn>` as in modules/extra_networks.py (`parse_prompt`,
`ExtraNetworkParams`) and extensions-builtin/Lora/extra_networks_lora.py (`activate`) of AUTOMATIC1111's WebUI
1.10: a tag is `<`, a word, `:`, one or more characters other than `>`, `>`. The characters are split at `:`;
an item with exactly one `=` is named, the others are positional. Every tag is taken out of the text, also
those that are not ours.

Six named arguments are ours: `compose=off` keeps the network merged in every prediction, `at=` says where a
composed one acts, `steps=` and `fade=` when, `cond=` and `uncond=` on which side of the guidance
(`arguments`). Arguments of other extensions are told by what they would do: `lbw`, `lbwe`, `start`, `stop`,
`step` (sd-webui-lora-block-weight) and strengths such as `1@0.5` (sd-webui-loractl).
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from types import MappingProxyType
from typing import Literal

from loratorio_ext.networks.arguments import OWN, OwnArguments, block_weight_steps, own_arguments, with_fade
from loratorio_ext.networks.blocks import LBW_TAKES, BlockWeights
from loratorio_ext.networks.problems import Problem, shown

Repeated = Literal["last", "twice", "each"]
"""What becomes of a network that is named twice: its last tag counts, or its last tag's strengths count twice
(AUTOMATIC1111's WebUI), or each tag with other strengths counts (Forge)."""

MAX_NAME = 200
"""Longest name, in characters. File systems allow 255 bytes a component."""

KINDS = ("lora", "lyco")
"""Words that mean a LoRA network; the WebUI registers "lyco" as another name of "lora"."""

WEIGHED = re.compile(r"\([^():]{1,200}:[\d. ]{1,20}\)|\[[^\[\]]{1,200}\]|\bAND\b")
"""What the WebUIs weigh texts by, and who draws without one takes literally."""

MAX_STRENGTH = 100.0
"""Strengths beyond ±100 are taken for a slip."""
MAX_DYN = 100_000
"""Largest `dyn` (rank) that makes sense to anybody."""
MAX_PROBLEMS = 50
"""A prompt can be hostile; this many problems are told in words, the rest are counted."""

_HEAD = re.compile(r"<(\w+):")
_ARGUMENTS = ("te", "unet", "dyn", *OWN)
_STEPS = ("start", "stop", "step")
_OTHERS = MappingProxyType({**dict.fromkeys(("lbw", "lbwe"), "blocks"), **dict.fromkeys(_STEPS, "steps")})
# A blank or another sign where the tag has its colon, or a blank before its word.
_LIKE_A_TAG = re.compile(
    rf"<(?:(?i:{'|'.join(KINDS)})(?:[^\S\n]|[=;,：|/])[^<>\n]{{1,{MAX_NAME}}}"
    rf"|[^\S\n]+(?i:{'|'.join(KINDS)})\b[^<>\n]{{1,{MAX_NAME}}})>"
)
_UNCLOSED = re.compile(rf"<({'|'.join(KINDS)}):[^<>]{{0,60}}")
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


def name_problem(name: str) -> Problem | None:
    """Why `name`, a file's stem with or without subfolders or the name that it gives itself, cannot be one.

    None if it can. It is only ever compared, never joined to a path; names that look like a way out of the
    folder are refused all the same, so that the message says what is wrong.
    """
    if not name:
        return Problem("the name is empty")
    if len(name) > MAX_NAME:
        values = {"count": len(name), "most": MAX_NAME}
        return Problem("the name has {count} characters; at most {most} are allowed", values)
    if not name.isprintable():
        return Problem("the name has control characters or others that cannot be shown")
    if not {"..", ".", ""}.isdisjoint(name.replace("\\", "/").split("/")):
        return Problem(
            "the name must be a file's stem, optionally with subfolders of the folder of networks before it"
        )
    return None


@dataclass(frozen=True)
class Tag:
    """One network asked for.

    name: file stem or alias. te, unet: strengths on the text encoder and the UNet, finite, within ±100.
    dyn: rank to cut the network to, ≥ 1, or None. own: our arguments.
    """

    name: str
    te: float = 1.0
    unet: float = 1.0
    dyn: int | None = None
    own: OwnArguments = field(default_factory=OwnArguments)

    @property
    def compose(self) -> bool:
        """Whether it shares the picture's places with others."""
        return self.own.composed


@dataclass(frozen=True)
class OtherTag:
    """A tag for another of the host's features, e.g. `<hypernet:name:1>`: its word and its items."""

    kind: str
    items: tuple[str, ...]


@dataclass(frozen=True)
class Prompt:
    """A prompt taken apart.

    text: without any tag, otherwise untouched. tags: ours, in order of first mention, names unique. others:
    all other tags. told: one problem for each tag that was ignored or changed; lost: those of them that cost
    a whole tag.
    """

    text: str
    tags: tuple[Tag, ...] = ()
    others: tuple[OtherTag, ...] = ()
    told: tuple[Problem, ...] = ()
    lost: tuple[Problem, ...] = ()

    @property
    def problems(self) -> tuple[str, ...]:
        """``told`` in English."""
        return tuple(map(str, self.told))


class _WrongTagError(Exception):
    """What makes a tag useless; its only argument is the problem."""


def _strength(text: str, what: str) -> float:
    text = text.strip(" ")
    value = float(text) if len(text) <= 64 and _NUMBER.fullmatch(text) else math.nan
    if abs(value) <= MAX_STRENGTH:
        return value
    if "@" in text:
        values = {"argument": what, "value": shown(text, 24)}
        told = Problem(
            "{argument} is {value}; strengths by steps (@) are not possible, give one number", values
        )
        raise _WrongTagError(told)
    most = f"{MAX_STRENGTH:g}"
    values = {"argument": what, "value": shown(text, 24), "lowest": f"-{most}", "highest": most}
    told = Problem("{argument} is {value}; it must be a number from {lowest} to {highest}", values)
    raise _WrongTagError(told)


def _rank(text: str) -> int:
    text = text.strip(" ")
    if re.fullmatch(r"\+?[0-9]{1,12}", text) and 1 <= int(text) <= MAX_DYN:
        return int(text)
    values = {"value": shown(text, 24), "highest": MAX_DYN}
    raise _WrongTagError(Problem("dyn is {value}; it must be a whole number from 1 to {highest}", values))


def _split_items(items: Sequence[str]) -> tuple[list[str], dict[str, str], list[Problem]]:
    """(positional, named, problems); an item with two or more `=` is positional, as in the host."""
    positional: list[str] = []
    named: dict[str, str] = {}
    problems: list[Problem] = []
    for item in items:
        if item.count("=") != 1:
            positional.append(item)
            continue
        key, _, value = item.partition("=")
        if key in named:
            twice = {"argument": shown(key, 24)}
            problems.append(Problem("{argument} is given twice; the last one counts", twice))
        named[key] = value
    return positional, named, problems


def _numbers(positional: Sequence[str], named: Mapping[str, str]) -> tuple[float, float, int | None]:
    """(te, unet, dyn). Raises _WrongTagError where one of them cannot be read."""
    repeated = next((item for item in positional[1:] if "=" in item), None)
    if repeated is not None:
        item = {"argument": shown(repeated, 24)}
        raise _WrongTagError(Problem("{argument} has more than one =; give one value, as in te=0.5", item))
    te = named.get("te", positional[1] if len(positional) > 1 else "1")
    unet = named.get("unet", positional[2] if len(positional) > 2 else te)
    dyn = named.get("dyn", positional[3] if len(positional) > 3 else None)
    # Most people write one number, and know it as the strength.
    words = ["te" if "te" in named else "strength", "unet" if "unet" in named else "second strength"]
    return _strength(te, words[0]), _strength(unet, words[1]), None if dyn is None else _rank(dyn)


def _unknown_arguments(keys: Iterable[str], own: OwnArguments) -> Iterator[Problem]:
    """A problem for each kind of argument that is not ours, which names all of that kind."""
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for key in sorted(key for key in keys if key.strip(" ") not in OWN):
        kinds[_OTHERS.get(key.strip(" ").lower(), "unknown")].append(shown(key, 24))
    for kind, found in kinds.items():
        listed = {"arguments": ", ".join(found[:8]) + (", …" if len(found) > 8 else "")}
        if kind == "blocks" and own.blocks:
            yield Problem(
                "{arguments}: another extension's; without it, the network acts in the blocks that lbw= says",
                listed,
            )
        elif kind == "blocks":
            yield Problem(
                "{arguments}: another extension's; without it, the network acts in all its blocks",
                listed,
            )
        elif kind == "steps":
            yield Problem(
                "{arguments}: another extension's; here a part of the steps is written steps=0-0.4", listed
            )
        else:
            values = {**listed, "known": ", ".join(_ARGUMENTS)}
            yield Problem("unknown arguments: {arguments}; known are {known}", values)


def _tag_of(items: Sequence[str], *, weighs_blocks: bool) -> tuple[Tag | None, list[Problem]]:
    """A tag from its items, the texts between the `:`, and its problems.

    A number that cannot be read leaves the whole tag out (None): a network at a strength that nobody asked
    for would be worse than none. Unknown or surplus arguments are left out alone.
    """
    written, items = items, with_fade(items)
    positional, named, problems = _split_items(items)
    first, _, rest = items[0].partition("=")
    if rest and "=" not in rest and first.strip(" ") not in _ARGUMENTS:
        taken = {"network": shown(items[0].strip(" "), 40)}
        return None, [Problem("ignored the tag {network}: a name with one = is read as an argument", taken)]
    name = positional[0].strip(" ") if positional else ""
    values: dict[str, object] = {"network": shown(name, 40), "problem": name_problem(name)}
    if values["problem"] is not None:
        return None, [Problem("ignored the tag of network {network}: {problem}", values)]
    try:
        te, unet, dyn = _numbers(positional, named)
    except _WrongTagError as wrong:
        values["problem"] = wrong.args[0]
        return None, [Problem("network {network}: {problem}; ignored the tag", values)]

    ramp = next((one for one, other in zip(written, items, strict=True) if one != other), None)
    if ramp is not None and not weighs_blocks:  # a WebUI reads it as a strength, and fails
        values["problem"] = Problem("write {value} after steps= as fade={value}", {"value": ramp.strip(" ")})
        return None, [Problem("network {network}: {problem}; ignored the tag", values)]
    own, of_own = own_arguments(named)
    problems += of_own
    if len(positional) > 4:
        given = {"count": len(positional)}
        told = Problem("{count} positional arguments, but only name, te, unet and dyn are known", given)
        problems.append(told)
    known = ["te", "unet", "dyn", *(_STEPS if block_weight_steps(named) is not None else ())]
    if weighs_blocks and "lbw" in named:
        known.append("lbw")
        try:
            BlockWeights.parse(named["lbw"])
            own = replace(own, blocks=named["lbw"].strip(" "))
        except ValueError:
            given_blocks = {"argument": "lbw", "value": shown(named["lbw"], 24), "takes": LBW_TAKES}
            problems.append(Problem("{argument} is {value}; {takes}; left out", given_blocks))
    problems += _unknown_arguments([key for key in named if key not in known], own)
    tag = Tag(name, te, unet, dyn, own)
    return tag, [Problem("network {network}: {problem}", {**values, "problem": one}) for one in problems]


def _raw_tags(text: str) -> tuple[list[tuple[str, str]], str]:
    """All (word, arguments) of tags in order, and the text without them.

    Linear in the text's length; the grammar as one regular expression is quadratic on many unclosed tags.
    """
    found: list[tuple[str, str]] = []
    kept: list[str] = []
    done = position = 0
    while (head := _HEAD.search(text, position)) is not None:
        end = text.find(">", head.end())
        if end < 0:
            break
        if end == head.end():  # nothing between `:` and `>` is no tag
            position = end + 1
            continue
        kept.append(text[done : head.start()])
        found.append((head.group(1), text[head.end() : end]))
        done = position = end + 1
    kept.append(text[done:])
    return found, "".join(kept)


def _told_twice(name: str, repeated: Repeated) -> Problem:
    twice = {"network": shown(name, 40)}
    if repeated == "each":
        return Problem("network {network} is named twice; it acts with both strengths", twice)
    if repeated == "twice":
        return Problem("network {network} is named twice; it acts with twice the last tag's strengths", twice)
    return Problem("network {network} is named twice; the last tag counts", twice)


def parse_prompt(text: str, repeated: Repeated = "last", *, weighs_blocks: bool = True) -> Prompt:
    """Takes a prompt apart into text, networks and other tags. Never raises on any text.

    repeated: what the host makes of a network that is named twice. weighs_blocks: whether it understands
    ``lbw=``; in a WebUI that is another extension's.
    """
    found, rest = _raw_tags(text)
    tags: dict[object, Tag] = {}
    others: list[OtherTag] = []
    problems: list[Problem] = []
    lost: list[Problem] = []
    for kind, arguments in found:
        items = tuple(arguments.split(":"))
        if kind not in KINDS:
            others.append(OtherTag(kind, items))
            if kind.lower() in KINDS:
                word = {"tag": shown(kind, 24)}
                told = Problem("ignored the tag {tag}: write it in small letters, as the WebUI does", word)
                problems.append(told)
            continue
        tag, trouble = _tag_of(items, weighs_blocks=weighs_blocks)
        problems.extend(trouble)
        if tag is None:
            lost.extend(trouble)
            continue
        before = {other.name for other in tags.values()}
        key = (tag.name, tag.te, tag.unet) if repeated == "each" else tag.name
        if tag.name in before and not (repeated == "each" and key in tags):
            problems.append(_told_twice(tag.name, repeated))
        tags[key] = tag
    unclosed = _UNCLOSED.search(rest, rest.rfind(">") + 1)
    if unclosed is not None:
        open_tag = {"tag": shown(unclosed.group(0), 40)}
        lost.append(Problem("the tag {tag} has no closing >; it is read as plain text", open_tag))
        problems.append(lost[-1])
    for written in islice(_LIKE_A_TAG.finditer(rest), MAX_PROBLEMS):
        plain_text = {"tag": shown(written.group(0), 40)}
        told = Problem("{tag} is read as plain text; to use a network, write <lora:name:1>", plain_text)
        lost.append(told)
        problems.append(lost[-1])
    if len(problems) > MAX_PROBLEMS:
        more = len(problems) - MAX_PROBLEMS
        problems[MAX_PROBLEMS:] = [Problem("and {count} more problems in the tags", {"count": more})]
    return Prompt(rest, tuple(tags.values()), tuple(others), tuple(problems), tuple(lost[:MAX_PROBLEMS]))
