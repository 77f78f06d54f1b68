"""Colors that can be told apart, and maps that show what they were given."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from loratorio_ext.plots import charts, pictures
from loratorio_ext.plots.colors import NETWORKS, from_oklab, network_color, ramp, rgb, to_oklab

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
BLINDNESS = {
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritan": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def seen_by(kind: str, colors: np.ndarray) -> np.ndarray:
    encoded = np.asarray(colors, dtype=np.float64) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(BLINDNESS[kind]).T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def test_the_ramp_only_gets_lighter() -> None:
    lightness = to_oklab(ramp())[:, 0]
    assert (np.diff(lightness) > -1e-3).all()
    assert lightness[-1] - lightness[0] > 0.6


@pytest.mark.parametrize("kind", BLINDNESS)
def test_the_ramp_stays_a_ramp_for_the_color_blind(kind: str) -> None:
    colors = to_oklab(seen_by(kind, ramp(9)))
    assert (np.diff(colors[:, 0]) > 0.02).all()


@pytest.mark.parametrize("kind", BLINDNESS)
def test_the_first_networks_can_be_told_apart_by_the_color_blind(kind: str) -> None:
    colors = to_oklab(seen_by(kind, np.array([rgb(color) for color in NETWORKS[:4]])))
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(colors, 2)) > 0.06


def test_there_is_a_color_for_every_network() -> None:
    assert len(set(NETWORKS)) == len(NETWORKS)
    assert network_color(len(NETWORKS)) == network_color(0)


@given(color=st.tuples(*[st.integers(0, 255)] * 3))
@settings(max_examples=60, deadline=None)
def test_oklab_there_and_back(color: tuple[int, int, int]) -> None:
    assert np.abs(from_oklab(to_oklab(np.array(color))).astype(int) - color).max() <= 1


def test_oklab_of_known_colors() -> None:
    # From B. Ottosson's table: white, and sRGB red.
    assert np.allclose(to_oklab(np.array([255, 255, 255])), [1, 0, 0], atol=1e-3)
    assert np.allclose(to_oklab(np.array([255, 0, 0])), [0.628, 0.225, 0.126], atol=1e-3)


def test_a_heat_map_shows_low_dark_and_high_light_in_its_place() -> None:
    image = np.asarray(pictures.heat(np.array([[0.0, 1.0], [np.nan, 2.0]]), pictures.Scale(0, 1), (8, 8)))
    assert (image[0, 0] == ramp()[0]).all()
    assert (image[3, 7] == ramp()[-1]).all()
    assert (image[7, 0] == ramp()[0]).all()
    assert (image[7, 7] == ramp()[-1]).all()


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(max_examples=60, deadline=None)
def test_a_scale_holds_the_bulk_of_its_values(values: list[float]) -> None:
    scale = pictures.scale_of([np.array(values)])
    assert scale.high >= scale.low + 0.0499
    assert scale.low <= np.median(values) <= scale.high


def test_a_scale_without_values() -> None:
    assert pictures.scale_of([]) == pictures.Scale(0.0, 1.0)
    assert pictures.scale_of([np.array([np.nan])]) == pictures.Scale(0.0, 1.0)


def test_territories_take_the_strongest_network_s_color() -> None:
    maps = np.zeros((2, 1, 2))
    maps[0, 0, 0], maps[1, 0, 1] = 1.0, 1.0
    image = np.asarray(pictures.territories(Image.new("RGB", (4, 4), "white"), maps, (4, 2))).astype(int)
    left, right = (np.array(rgb(network_color(index))) for index in (0, 1))
    assert np.abs(image[0, 0] - left).sum() < np.abs(image[0, 0] - right).sum()
    assert np.abs(image[0, 3] - right).sum() < np.abs(image[0, 3] - left).sum()


def test_equal_weights_leave_the_picture_grey() -> None:
    grey = pictures.territories(Image.new("RGB", (4, 4), (90, 90, 90)), np.full((3, 2, 2), 1 / 3), (4, 4))
    assert np.abs(np.asarray(grey).astype(int) - 90).max() <= 1


def test_an_overlay_keeps_drawing_and_map() -> None:
    drawing = Image.fromarray(np.repeat(np.array([[40, 220]], dtype=np.uint8), 2, axis=0)).convert("RGB")
    image = np.asarray(
        pictures.overlay(drawing, np.array([[0.0, 0.0], [1.0, 1.0]]), pictures.Scale(0, 1), (2, 2))
    ).astype(int)
    assert (image[:, 1].sum(-1) > image[:, 0].sum(-1)).all()
    assert (image[1].sum(-1) > image[0].sum(-1)).all()


def test_a_strip_has_a_tile_for_each_step() -> None:
    image = pictures.strip(np.zeros((5, 4, 8)), pictures.Scale(0, 1), 16, gap=2)
    assert image.size == (5 * 18 - 2, 8)
    assert image.getpixel((16, 0)) == (0, 0, 0, 0)


def test_a_sheet_holds_every_picture() -> None:
    rows = [("one", [Image.new("RGB", (8, 8), "red")] * 3), ("two", [Image.new("RGB", (8, 8), "blue")] * 2)]
    sheet = np.asarray(pictures.contact_sheet(rows, ["a", "b", "c"], 40))
    assert (sheet == (255, 0, 0)).all(-1).sum() == 3 * 1600
    assert (sheet == (0, 0, 255)).all(-1).sum() == 2 * 1600


@given(value=st.floats(1e-6, 1e6))
@settings(max_examples=100, deadline=None)
def test_an_axis_ends_near_above_its_values(value: float) -> None:
    top = charts.nice_top(value)
    assert value * 0.99999 <= top <= value * 1.7


@given(wanted=st.lists(st.floats(0, 200), min_size=1, max_size=8))
@settings(max_examples=100, deadline=None)
def test_labels_never_lie_on_each_other(wanted: list[float]) -> None:
    placed = charts.spread(wanted, 15, 0, 200)
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    gaps = np.diff([placed[index] for index in order])
    assert (gaps >= 15 - 1e-9).all()
    assert max(placed) <= 200 + 1e-9


def points_of(svg: str) -> list[int]:
    """The number of points of each line that is drawn."""
    return [points.count(",") for points in re.findall(r'<polyline points="([^"]+)"', svg)]


def chart(names: list[str], series: list[list[float | None]], **more: Any) -> str:
    return charts.line_chart(names, series, title="t", axis=("step 1", "step <2>"), **more)


@pytest.mark.parametrize(("gaps", "points"), [(True, [2, 2, 2]), (False, [4])])
def test_a_line_breaks_or_goes_on_over_steps_without_a_value(gaps: bool, points: list[int]) -> None:
    # A step that stands alone is a line to itself.
    assert points_of(chart(["a"], [[0.1, 0.3, None, 0.2, None, None, 0.4]], gaps=gaps)) == points


def test_a_chart_marks_a_step_and_its_texts_stay_texts() -> None:
    svg = chart(["a <b>"], [[0.5, None, 0.5]], guide=(0.2, "<equal>"), mark=2, slots=[1])
    assert svg.count('class="mark"') == 1
    assert all(text in svg for text in ("a &lt;b&gt;", "step &lt;2&gt;", "&lt;equal&gt;"))
    assert f'stroke="{network_color(1)}"' in svg
    assert points_of(svg) == [2, 2]  # dots
    assert 'class="mark"' not in chart(["b"], [[0.5]], mark=3)
    assert chart([], []).endswith("</svg>")
