"""The WebUI's tag grammar: examples, hostile text, properties against the grammar written as one regex."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given, settings, strategies as st

from loratorio_ext.networks.arguments import OwnArguments
from loratorio_ext.networks.problems import shown
from loratorio_ext.networks.prompt import MAX_NAME, MAX_PROBLEMS, MAX_STRENGTH, OtherTag, Tag, parse_prompt


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("<lora:a>", Tag("a", 1, 1)),
        ("<lora:a:0.8>", Tag("a", 0.8, 0.8)),
        ("<lora:a:0.8:0.5>", Tag("a", 0.8, 0.5)),
        ("<lora:a:0.8:0.5:4>", Tag("a", 0.8, 0.5, 4)),
        ("<lora:a:te=0.2>", Tag("a", 0.2, 0.2)),
        ("<lora:a:unet=0.2>", Tag("a", 1, 0.2)),
        ("<lora:a:0.3:te=0.2>", Tag("a", 0.2, 0.2)),
        ("<lora:a:0.3:0.4:te=0.2>", Tag("a", 0.2, 0.4)),
        ("<lora:a:te=0.2:0.3:0.4>", Tag("a", 0.2, 0.4)),
        ("<lora:a:dyn=16:unet=-1:te=0>", Tag("a", 0, -1, 16)),
        ("<lora:a:1:compose=off>", Tag("a", own=OwnArguments(compose=False))),
        ("<lora:a:compose=OFF:0.5>", Tag("a", 0.5, 0.5, own=OwnArguments(compose=False))),
        ("<lora:a:compose=on>", Tag("a")),
        ("<lyco:a:1>", Tag("a")),
        ("<lora:sub folder/a b:.5>", Tag("sub folder/a b", 0.5, 0.5)),
        ("<lora: a : 1 >", Tag("a")),
        ("<lora:a.v1.2-(x)[y]:1e-1>", Tag("a.v1.2-(x)[y]", 0.1, 0.1)),
        ("<lora:名前:+1.>", Tag("名前")),
    ],
)
def test_forms(text: str, tag: Tag) -> None:
    prompt = parse_prompt(f"x {text}, y")
    assert prompt.tags == (tag,)
    assert prompt.text == "x , y"
    assert prompt.problems == ()


@pytest.mark.parametrize(
    "number",
    [
        *("inf", "-inf", "nan", "1e999", "１", "0x10", "1_000", "", "one", "1,5", "--1", "1e", ".", "٣"),
        *("101", "1 2", "9" * 5000),
    ],
)
@pytest.mark.parametrize("form", ["<lora:a:{}>", "<lora:a:1:{}>", "<lora:a:te={}>", "<lora:a:unet={}>"])
def test_bad_numbers_leave_the_tag_out_and_say_so(number: str, form: str) -> None:
    prompt = parse_prompt("p" + form.format(number))
    assert prompt.tags == ()
    assert prompt.text == "p"
    (problem,) = prompt.problems
    assert "'a'" in problem and str(int(MAX_STRENGTH)) in problem and len(problem) < 250


@pytest.mark.parametrize("item", ["te=1=2", "unet==1", "dyn=4=", "compose=off=1", "=="])
@pytest.mark.parametrize("form", ["<lora:a:{}>", "<lora:a:1:{}>", "<lora:a:1:1:4:{}>", "<lora:a:te=1:{}>"])
def test_an_item_with_two_equals_signs_leaves_the_tag_out_and_says_so(item: str, form: str) -> None:
    prompt = parse_prompt("p" + form.format(item))
    assert (prompt.tags, prompt.text) == ((), "p")
    told = f"network 'a': {item!r} has more than one =; give one value, as in te=0.5; ignored the tag"
    assert tuple(map(str, prompt.lost)) == prompt.problems == (told,)


def test_a_name_may_hold_equals_signs_as_in_the_webui() -> None:
    assert parse_prompt("<lora:a=b=c:0.5>").tags == (Tag("a=b=c", 0.5, 0.5),)
    assert parse_prompt("<lora:te=0.5:a==b>").tags == (Tag("a==b", 0.5, 0.5),)


@pytest.mark.parametrize("number", ["1@0.5", "0@0,1@0.5,0@1", "0.5@hr", "@"])
@pytest.mark.parametrize("form", ["<lora:a:{}>", "<lora:a:1:{}>", "<lora:a:te={}>"])
def test_strengths_that_change_with_the_steps_are_told(number: str, form: str) -> None:
    """sd-webui-loractl's form."""
    prompt = parse_prompt(form.format(number))
    assert prompt.tags == ()
    (problem,) = map(str, prompt.lost)
    assert f"{number!r}; strengths by steps (@) are not possible, give one number" in problem


def test_every_kind_of_unknown_argument_has_its_sentence() -> None:
    prompt = parse_prompt("<lora:a:1:lbwe=A:stop=x:hello=1" + "".join(f":k{i}=1" for i in range(99)) + ">")
    assert prompt.tags == (Tag("a"),) and prompt.lost == ()
    assert len(prompt.problems) == 3 and max(map(len, prompt.problems)) < 250


@pytest.mark.parametrize("name", ["epoch=10", "a=b", " v1 = 2"])
def test_a_name_that_reads_as_an_argument_is_told(name: str) -> None:
    prompt = parse_prompt(f"<lora:{name}:0.8>")
    assert prompt.tags == ()
    (problem,) = map(str, prompt.lost)
    assert repr(name.strip()) in problem and "read as an argument" in problem


@pytest.mark.parametrize(
    "text",
    [
        *("<lora a:1>", "<lora a>", "<lyco style/ink:0.5:1>", "< lora:a:1>", "<lora=a:1>", "<lora;a;1>"),
        *("<lora :a:1>", "<  lyco a>", "<lora：a：1>", "<LORA a:1>", f"<lora {'long ' * 30}>"),
    ],
)
def test_what_is_nearly_a_tag_is_told(text: str) -> None:
    prompt = parse_prompt(f"a cat {text}, <lora:b:1>")
    assert prompt.text == f"a cat {text}, " and prompt.tags == (Tag("b"),)
    assert tuple(map(str, prompt.lost)) == (
        f"{shown(text, 40)} is read as plain text; to use a network, write <lora:name:1>",
    )


@pytest.mark.parametrize("text", ["<lora-like>", "<loras are fine>", "a < lora", "<explora:", "<lora"])
def test_other_text_is_no_tag(text: str) -> None:
    assert parse_prompt(text).problems == ()


@pytest.mark.parametrize("dyn", ["0", "-1", "1.5", "", "nan", "９", "1" * 100, "100001"])
def test_bad_dyn(dyn: str) -> None:
    assert parse_prompt(f"<lora:a:1:1:{dyn}>").tags == ()
    (problem,) = parse_prompt(f"<lora:a:dyn={dyn}>").problems
    assert "whole number" in problem


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", "../a", "/etc/passwd", "a/../b", "..\\a", "\\\\server\\a", "a//b", "./a", "a\nb", "a\x00"),
        *("\u202eabc", "x" * (MAX_NAME + 1)),
    ],
)
def test_names_that_name_nothing(name: str) -> None:
    prompt = parse_prompt(f"<lora:{name}:1>")
    assert prompt.tags == ()
    assert len(prompt.problems) == 1 and "\n" not in prompt.problems[0] and len(prompt.problems[0]) < 250


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("<lora:a:1:1:4:5>", "positional"),
        ("<lora:a:weight=2>", "'weight'"),
        ("<lora:a:weight=2:x=1:compose=off: unet=3>", "unknown arguments: ' unet', 'weight', 'x'"),
        (
            "<lora:a:1:lbw=INALL:lbwe=IN>",
            "'lbwe': another extension's; without it, the network acts in the blocks that lbw= says",
        ),
        ("<lora:a:1:lbwe=IN>", "'lbwe': another extension's; without it, the network acts in all its blocks"),
        ("<lora:a:1:steps=>", "steps is ''; give two fractions of the steps"),
        ("<lora:a:1:fade= >", "fade is ''; give two factors"),
        ("<lora:a:1:start=3:stop=9:step=4-1>", "'start', 'step', 'stop': another extension's; here a part"),
        ("<lora:a:te=1:te=2>", "twice"),
        ("<lora:a:compose=perhaps>", "compose"),
        ("<lora:a> <lora:a>", "named twice"),
    ],
)
def test_what_is_adjusted_is_said(text: str, word: str) -> None:
    prompt = parse_prompt(text)
    assert len(prompt.tags) == 1 and len(prompt.problems) == 1
    assert word in prompt.problems[0]


def test_the_last_of_two_tags_counts_in_the_first_ones_place() -> None:
    assert parse_prompt("<lora:a:1><lora:b><lora:a:0.5>").tags == (Tag("a", 0.5, 0.5), Tag("b"))


def test_other_tags_are_removed_and_listed() -> None:
    prompt = parse_prompt("x<hypernet:h:0.5><LoRA:a:1>y<extra:k=v:w>z")
    assert prompt.text == "xyz"
    assert prompt.tags == ()
    assert prompt.others == (
        OtherTag("hypernet", ("h", "0.5")),
        OtherTag("LoRA", ("a", "1")),
        OtherTag("extra", ("k=v", "w")),
    )
    assert len(prompt.problems) == 1 and "small letters" in prompt.problems[0]


@pytest.mark.parametrize(
    "text", ["", "<lora>", "<lora:>", "< lore:a>", "<:a>", "a < b > c", "(cat:1.2)", ">"]
)
def test_what_is_no_tag_stays(text: str) -> None:
    prompt = parse_prompt(text)
    assert prompt.text == text
    assert (prompt.tags, prompt.others, prompt.problems) == ((), (), ())


@pytest.mark.parametrize("text", ["<lora:a", "a <lora:b:1> cat <lyco:star:1"])
def test_a_tag_that_is_not_closed_stays_and_is_told(text: str) -> None:
    prompt = parse_prompt(text)
    assert prompt.text.endswith(text[text.rindex("<") :])
    assert prompt.told == prompt.lost and "no closing >" in prompt.problems[0]


def test_nested_brackets_end_at_the_first_closing_one() -> None:
    prompt = parse_prompt("<lora:<lora:a:1>:1>")
    assert prompt.text == ":1>"
    assert prompt.tags == () and len(prompt.problems) == 1


def test_thousands_of_tags_and_problems() -> None:
    prompt = parse_prompt("".join(f"<lora:n{i}:0.5>" for i in range(5000)))
    assert len(prompt.tags) == 5000 and prompt.text == ""
    prompt = parse_prompt("<lora:a:x>" * 5000)
    assert len(prompt.problems) == MAX_PROBLEMS + 1 and "4950 more" in prompt.problems[-1]


@pytest.mark.parametrize(
    "piece", ["<lora:", "<", "<a", "<lora:a:>", "a", "<lora:a:1", ":", "<lora:a:1>", "=", "<lora:="]
)
def test_huge_texts_end(piece: str) -> None:
    # A quadratic parser needs minutes for these; a linear one a fraction of a second.
    text = piece * (400_000 // len(piece))
    assert len(parse_prompt(text).text) <= len(text)
    assert parse_prompt(text + ">").text is not None


PIECES = (
    "<",
    ">",
    ":",
    "=",
    "lora",
    "<lora:",
    "hypernet",
    "te=",
    "1",
    ":0.5",
    "a",
    ">>",
    "<<",
    " ",
    "é",
    "\n",
)
TAG_LIKE = st.lists(st.text(max_size=6) | st.sampled_from(PIECES), max_size=14).map("".join)


@settings(deadline=None, max_examples=300)
@given(TAG_LIKE)
@example("<a:>b>")
@example("<lora:a:1><x:>y>")
def test_the_text_is_what_the_grammar_as_one_regex_leaves(text: str) -> None:
    found: list[tuple[str, str]] = []

    def take(match: re.Match[str]) -> str:
        found.append((match[1], match[2]))
        return ""

    rest = re.sub(r"<(\w+):([^>]+)>", take, text)
    prompt = parse_prompt(text)
    assert prompt.text == rest
    theirs = [tag for tag in found if tag[0] not in ("lora", "lyco")]
    assert [(other.kind, ":".join(other.items)) for other in prompt.others] == theirs
    ours = len(found) - len(theirs)
    assert len(prompt.tags) <= ours
    assert len(prompt.tags) + len(prompt.problems) >= min(ours, 1)


NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters=":=<>/\\"),
    min_size=1,
    max_size=20,
).filter(lambda name: name.isprintable() and name not in (".", ".."))
STRENGTHS = st.one_of(
    st.floats(-MAX_STRENGTH, MAX_STRENGTH),
    st.sampled_from([0.0, -0.0, 1.0, 0.8, -1.0, 1e-7, 5e-324, MAX_STRENGTH]),
)
_WHEN = (st.sampled_from(["", "0-0.4", "0.3-1"]), st.sampled_from(["", "1-0", "0.5-2"]))
_PLACES = st.sampled_from(["", "left", "top-right", "0.5-1,0-.25"])
_SIDE = st.sampled_from([None, True])
OWN = (
    st.builds(OwnArguments, st.just(False), st.just(""), *_WHEN, st.booleans(), _SIDE)
    | st.builds(
        OwnArguments, st.just(True), _PLACES, *_WHEN, st.just(True), st.sampled_from([None, True, False])
    )
    | st.builds(OwnArguments, st.just(True), st.just(""), *_WHEN, st.just(False), _SIDE)
)
TAGS = st.builds(Tag, NAMES, STRENGTHS, STRENGTHS, st.none() | st.integers(1, 100_000), OWN)


def written(tag: Tag) -> str:
    """The shortest text of a tag."""
    text = f"<lora:{tag.name}:{tag.te!r}"
    text += "" if tag.unet == tag.te else f":{tag.unet!r}"
    text += "" if tag.dyn is None else f":dyn={tag.dyn}"
    text += "".join(
        f":{name}={getattr(tag.own, name)}" for name in ("at", "steps", "fade") if getattr(tag.own, name)
    )
    text += "" if tag.own.cond else ":cond=0"
    text += "" if tag.own.uncond is None else f":uncond={int(tag.own.uncond)}"
    return text + (">" if tag.own.compose else ":compose=off>")


@settings(deadline=None, max_examples=200)
@given(
    st.lists(TAGS, max_size=5, unique_by=lambda tag: tag.name),
    st.text(st.characters(exclude_characters="<>"), max_size=10),
)
def test_round_trip(tags: list[Tag], between: str) -> None:
    prompt = parse_prompt(between.join(["", *map(written, tags), ""]))
    assert prompt.tags == tuple(tags)
    assert prompt.text == between * (len(tags) + 1 if tags else 1)
    assert prompt.problems == ()


@pytest.mark.parametrize(
    ("repeated", "strengths", "told"),
    [
        ("last", [0.25], "the last tag counts"),
        ("twice", [0.25], "twice the last"),
        ("each", [0.5, 0.25], "both"),
    ],
)
def test_a_network_named_twice_is_what_the_host_makes_of_it(
    repeated: Any, strengths: list[float], told: str
) -> None:
    prompt = parse_prompt("<lora:a:0.5> <lora:b:1> <lora:a:0.25>", repeated)
    assert [tag.unet for tag in prompt.tags if tag.name == "a"] == strengths
    assert told in prompt.problems[0]
    again = parse_prompt("<lora:a:0.5> <lora:a:0.5>", repeated)
    assert len(again.tags) == 1 and len(again.problems) == (repeated != "each")
