"""Where and when a network acts, as its tag says it."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from loratorio_ext.networks.arguments import (
    AT_TAKES,
    MASK_TAKES,
    Area,
    OwnArguments,
    Window,
    own_arguments,
)
from loratorio_ext.networks.prompt import parse_prompt

FRACTIONS = st.integers(0, 100).map(lambda percent: percent / 100)


@pytest.mark.parametrize(
    ("text", "area"),
    [
        ("left", Area(0, 0.5, 0, 1)),
        (" Right", Area(0.5, 1, 0, 1)),
        ("top", Area(0, 1, 0, 0.5)),
        ("bottom left", Area(0, 0.5, 0.5, 1)),
        ("left-bottom", Area(0, 0.5, 0.5, 1)),
        ("top_right", Area(0.5, 1, 0, 0.5)),
        ("middle", Area(0.25, 0.75, 0.25, 0.75)),
        ("center", Area(0.25, 0.75, 0.25, 0.75)),
        ("0-1,0-1", Area()),
        ("0.5 - 1, .25-1.", Area(0.5, 1, 0.25, 1)),
    ],
)
def test_an_area_is_a_word_two_words_or_fractions(text: str, area: Area) -> None:
    assert Area.parse(text) == area


@pytest.mark.parametrize(
    "text",
    [
        "",
        "up",
        "left-right",
        "left-top-left",
        "middle-left",
        "0-1",
        "0.5-0.5,0-1",
        "0-1,0-2",
        "1-0,0-1",
        "nan-1,0-1",
    ],
)
def test_another_area_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="left, right, top"):
        Area.parse(text)


@given(FRACTIONS, st.integers(1, 200), st.integers(0, 1))
def test_areas_that_share_an_edge_sum_to_one(edge: float, count: int, axis: int) -> None:
    if not 0.05 <= edge <= 0.95:
        edge = 0.5
    sides = ((0, edge), (edge, 1))
    areas = [Area(*side, 0, 1) if axis == 0 else Area(0, 1, *side) for side in sides]
    (first,), (second,) = (area.shares(axis, count) for area in areas)
    assert all(abs(a + b - 1) < 1e-9 for a, b in zip(first, second, strict=True))
    assert areas[0].shares(1 - axis, count) == [[1.0] * count]


def test_an_area_is_full_inside_and_empty_outside_with_a_soft_edge() -> None:
    (shares,) = Area(0.25, 0.75, 0, 1).shares(0, 100)
    assert shares[:22] == shares[78:] == [0.0] * 22
    assert shares[28:72] == [1.0] * 44
    assert shares == pytest.approx(shares[::-1])
    assert all(0 < share < 1 for share in shares[22:28])


@st.composite
def grids(draw: st.DrawFn) -> tuple[tuple[int, ...], ...]:
    row = st.tuples(*[st.integers(0, 1)] * draw(st.integers(1, 16)))
    return tuple(draw(st.lists(row, min_size=1, max_size=16)))


@given(grids())
def test_a_mask_is_rows_of_0_and_1(cells: tuple[tuple[int, ...], ...]) -> None:
    text = "/".join("".join(map(str, row)) for row in cells)
    prompt = parse_prompt(f"a cat <lora:a:1:at={text}>")
    if "1" in text:
        assert (prompt.tags[0].own.at, prompt.problems) == (text, ())
        assert Area.parse(f" {text} ") == (Area(cells=cells) if "0" in text else Area())
    else:
        assert prompt.tags[0].own.at == "" and str(MASK_TAKES) in prompt.problems[0]


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "00/00",
        "11/1",
        "/",
        "11/",
        "/11",
        "10//01",
        "12/00",
        "a/b",
        "1 0/0 1",
        "1" * 17,
        "10/" * 16 + "10",
    ]
    + ["10\n/10", "٠١/١٠", "0.5-1/0-1"],
)
def test_another_mask_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="1 to 16 rows"):
        Area.parse(text)
    (problem,) = own_arguments({"at": text})[1]
    assert str(problem).startswith("at is '") and str(problem).endswith(f"; {MASK_TAKES}; left out")


@given(st.integers(1, 16), st.integers(1, 100), st.integers(0, 1))
def test_neighboring_cells_sum_to_one(parts: int, count: int, axis: int) -> None:
    cells = ((1,) * parts,) if axis == 0 else ((1,),) * parts
    shares = Area(cells=cells).shares(axis, count)
    assert len(shares) == parts
    assert [sum(column) for column in zip(*shares, strict=True)] == pytest.approx([1.0] * count)


@pytest.mark.parametrize(
    ("steps", "fade", "factors"),
    [
        ("", "", [1] * 10),
        ("0-1", "1-1", [1] * 10),
        ("0-0.4", "", [1] * 4 + [0] * 6),
        ("0.4-1", "", [0] * 4 + [1] * 6),
        ("0.35-0.4", "", [0] * 10),
        ("0-0", "", [0] * 10),
        ("1-1", "", [0] * 10),
        ("0.2-0.7", "1-0", [0, 0, 1, 0.75, 0.5, 0.25, 0, 0, 0, 0]),
        ("", "0-9", list(range(10))),
        ("0.5-0.6", "0.5-1", [0] * 5 + [0.5] + [0] * 4),
        ("2-7", "1-0", [0, 0, 1, 0.75, 0.5, 0.25, 0, 0, 0, 0]),
        ("8-", "", [0] * 8 + [1] * 2),
        ("1-", "0-8", [0, *range(9)]),
    ],
)
def test_the_factor_of_a_network_s_strength_over_the_steps(
    steps: str, fade: str, factors: list[float]
) -> None:
    window = Window.parse(steps, fade)
    assert [window.factor(index, 10) for index in range(10)] == pytest.approx(factors)
    assert window.never == (steps in ("0-0", "1-1"))
    assert window.always == (steps in ("", "0-1") and fade in ("", "1-1"))


def test_a_sampler_that_goes_on_longer_keeps_what_acts_to_the_end() -> None:
    assert [Window.parse("0.5-1").factor(index, 4) for index in range(6)] == [0, 0, 1, 1, 1, 1]
    assert [Window.parse("0-0.5").factor(index, 4) for index in range(6)] == [1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize(
    "text", ["0.5", "1-0.5", "0-1.5", "3-2", "a-b", "0-1-1", "-1-1", "0-1e9", "0-" + "1" * 400]
)
def test_other_steps_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="fractions of the steps"):
        Window.parse(text)


@pytest.mark.parametrize("text", ["0.5", "0-11", "-1-1", "x"])
def test_another_fade_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="factors"):
        Window.parse("", text)


def test_what_is_wrong_is_said_and_left_out() -> None:
    own, problems = own_arguments({"at": "nowhere", " steps": "0-0.4", "fade": "x", "compose": "on"})
    assert own == OwnArguments(steps="0-0.4")
    assert [str(one) for one in problems] == [
        f"at is 'nowhere'; {AT_TAKES}; left out",
        "fade is 'x'; give two factors from 0 to 10, such as 1-0; left out",
    ]


def test_what_is_kept_merged_acts_everywhere() -> None:
    prompt = parse_prompt("<lora:a:1:compose=off:at=left:steps=0-0.5>")
    assert prompt.tags[0].own == OwnArguments(compose=False, steps="0-0.5")
    assert prompt.problems == ("network 'a': compose is off, so it shares no places, and at has no effect",)


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("cond=0", OwnArguments(cond=False)),
        ("cond=0:uncond=1", OwnArguments(cond=False, uncond=True)),
        ("uncond=1", OwnArguments(uncond=True)),
        ("uncond=off:compose=off", OwnArguments(compose=False, uncond=False)),
        ("cond=1", OwnArguments()),
    ],
)
def test_a_tag_says_on_which_side_of_the_guidance(text: str, own: OwnArguments) -> None:
    prompt = parse_prompt(f"<lora:a:1:{text}>")
    assert (prompt.tags[0].own, prompt.problems) == (own, ())
    assert prompt.tags[0].compose == (own.compose and own.cond) and not own.never


def test_sides_that_cannot_be_are_said() -> None:
    prompt = parse_prompt("<lora:a:1:cond=no:uncond=0> <lora:b:1:cond=2:at=left> <lora:c:1:cond=0:at=left>")
    assert [tag.own for tag in prompt.tags] == [
        OwnArguments(cond=False, uncond=False),
        OwnArguments(at="left"),
        OwnArguments(cond=False),
    ]
    assert prompt.tags[0].own.never
    assert prompt.problems == (
        "network 'a': cond and uncond are both off, so it acts nowhere",
        "network 'b': cond is '2'; give on or off (1 or 0); left out",
        "network 'c': cond is off, so it shares no places, and at has no effect",
    )


@pytest.mark.parametrize(
    ("tag", "steps", "fade", "unet"),
    [
        ("steps=0.2-0.6:0.8-0", "0.2-0.6", "0.8-0", 1.0),
        ("steps=2-6:1-0.5:at=left", "2-6", "1-0.5", 1.0),
        ("0.5: steps = 2-6 : 0.8 - 0 ", "2-6", "0.8 - 0", 0.5),
        ("steps=0.2-0.6:fade=0.8-0", "0.2-0.6", "0.8-0", 1.0),
    ],
)
def test_two_factors_after_steps_are_a_fade(tag: str, steps: str, fade: str, unet: float) -> None:
    prompt = parse_prompt(f"<lora:knight:1:{tag}>")
    (one,) = prompt.tags
    assert (one.own.steps, one.own.fade, one.unet, prompt.problems) == (steps, fade, unet, ())
    assert Window.parse(steps, fade).first == float(fade.split("-")[0])


def test_two_factors_anywhere_else_are_no_fade() -> None:
    for tag in ("0.8-0", "steps=0.2-0.6:fade=1-0:0.8-0", "steps=0-1:at=left:0.8-0", "steps=0-1:0.8-0:0.8-0"):
        (problem,) = map(str, parse_prompt(f"<lora:knight:1:{tag}>").lost)
        assert "'0.8-0'; it must be a number" in problem
    (problem,) = map(str, parse_prompt("<lora:knight:1:steps=0.2-0.6:0.8-0>", weighs_blocks=False).lost)
    assert "write 0.8-0 after steps= as fade=0.8-0; ignored the tag" in problem
