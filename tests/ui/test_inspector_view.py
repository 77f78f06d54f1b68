"""The page of a run: what it shows, and that strangers' texts stay texts."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from html.parser import HTMLParser
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from loratorio_ext.plots.colors import network_color, rgb
from loratorio_ext.server.history import FinishedRun, PassRecord, Record
from loratorio_ext.server.words import Words
from loratorio_ext.settings import Settings
from loratorio_ext.ui.inspector.selection import select
from loratorio_ext.ui.inspector.view import gone, nothing_yet, view

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)> ${alert(3)} {{x}}"


def record_of(run: FinishedRun) -> Record:
    return Record(3, datetime(2026, 1, 2, tzinfo=timezone.utc), run)


def page(run: FinishedRun, words: Words | None = None, **choice: Any) -> str:
    return view(select(record_of(run), **choice), words or Words())


class Tags(HTMLParser):
    """Collects all tags with their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def tags_in(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(html)
    return parser.found


def text_in(html: str) -> str:
    return " ".join(re.sub(r"<style>.*?</style>|<[^>]*>", " ", html, flags=re.S).split())


def test_strangers_texts_stay_texts(make: SimpleNamespace) -> None:
    report = make.report(
        [HOSTILE, "b"],
        [make.step(0, make.halves(), chosen=[[True], [False]])],
        Settings(enabled=True, pool="<b>*</b>"),
    )
    report.warn(HOSTILE)
    found = tags_in(page(make.finished(report, HOSTILE, comments=(HOSTILE + "!",))))
    assert "script" not in {tag for tag, _ in found}
    assert all(attributes["src"].startswith("data:image/png;") for tag, attributes in found if tag == "img")
    assert not [name for _, attributes in found for name in attributes if name.startswith("on")]
    assert any(HOSTILE in (attributes.get("alt") or "") for _, attributes in found)


def test_nothing_comes_from_elsewhere(real_run: FinishedRun) -> None:
    choices: tuple[dict[str, Any], ...] = ({}, {"picture": 1, "step": 4, "strength": 1.0})
    for choice in choices:
        html = page(real_run, **choice)
        assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[^\"]+", "", html))


@pytest.mark.parametrize("loud", [0.9, 0.7])
def test_a_place_has_the_color_of_its_strongest_network(make: SimpleNamespace, loud: float) -> None:
    run = make.finished(make.report(["left", "right"], [make.step(0, make.halves(loud))]))
    image = make.images_in(page(run, strength=1.0))[0].astype(int)
    height, width, _ = image.shape
    for x, index in ((0.05, 0), (0.95, 1)):
        pixel = image[height // 20, int(width * x)]
        distances = [np.abs(pixel - rgb(network_color(other))).sum() for other in range(8)]
        assert int(np.argmin(distances)) == index


def test_without_strength_the_picture_is_as_it_was(make: SimpleNamespace) -> None:
    run = make.finished(make.report(["left", "right"], [make.step(0, make.halves())]))
    assert (make.images_in(page(run, strength=0.0))[0] == 120).all()


def test_the_legend_says_how_much_of_the_picture_each_network_has(make: SimpleNamespace) -> None:
    maps = make.halves()
    maps[0, 0, 0], maps[1, 0, 0] = 1.0, 0.0  # the whole first row is the first one's
    text = text_in(page(make.finished(make.report(["one", "two"], [make.step(0, maps)]))))
    assert "A one 62% 0.62" in text
    assert "B two 38% 0.38" in text


def test_a_place_where_no_network_acts_is_nobody_s(make: SimpleNamespace) -> None:
    maps = make.halves()
    maps[:, 0, :2] = 0.0
    text = text_in(page(make.finished(make.report(["one", "two"], [make.step(0, maps)]))))
    assert "A one 25% 0.25" in text and "B two 25% 0.25" in text


def test_the_mean_is_over_the_steps_that_have_maps(make: SimpleNamespace) -> None:
    steps = [make.step(0, mode="merged"), make.step(1, make.halves()), make.step(2, 1 - make.halves())]
    run = make.finished(make.report(["one", "two"], steps))
    assert "A one 100% 0.50" in text_in(page(run))  # both equal everywhere
    assert "A one 50% 0.50" in text_in(page(run, step=2))
    assert "Mean over all 3 steps" in text_in(page(run))


def test_and_prompts_are_averaged(make: SimpleNamespace) -> None:
    rows = np.concatenate([make.halves(1.0), make.halves(0.5)], axis=1)  # two sub-prompts of image 0
    other = 1 - make.halves(1.0)
    report = make.report(["a", "b"], [make.step(0, np.concatenate([rows, other], 1), image_of=(0, 0, 1))])
    text = text_in(page(make.finished(report)))
    assert "A a 50% 0.50" in text
    assert "from 0.25 to 0.75" in page(make.finished(report))


def test_each_picture_of_a_batch_has_its_own_maps(real_run: FinishedRun, make: SimpleNamespace) -> None:
    first, second = (make.images_in(page(real_run, picture=place))[0] for place in (0, 1))
    assert (first != second).any()
    assert "picture 2 of 2 · seed 2" in text_in(page(real_run, picture=1))


def test_every_network_has_a_map_a_letter_and_a_line(real_run: FinishedRun, make: SimpleNamespace) -> None:
    html = page(real_run)
    assert len(make.images_in(html)) == 4
    assert max(side for image in make.images_in(html) for side in image.shape[:2]) <= 512
    for letter, name in zip("ABC", ("star", "grid", "moon"), strict=True):
        assert f"{letter} {name}" in text_in(html)
        assert html.count(f"</tspan> {letter} {name}</text>") == 2
    for _, attributes in [tag for tag in tags_in(html) if tag[0] == "img"]:
        assert attributes["alt"]


@pytest.mark.parametrize(
    ("choice", "step"), [({"step": 99, "picture": 99}, 6), ({"step": -4, "picture": -1, "strength": 7.0}, 0)]
)
def test_numbers_out_of_range_are_brought_into_it(real_run: FinishedRun, choice: Any, step: int) -> None:
    selection = select(record_of(real_run), **choice)
    assert (selection.step, len(selection.steps)) == (step, 6)
    assert 0 <= selection.strength <= 1
    assert ("Step 6 of 6" in text_in(page(real_run, **choice))) == (step == 6)


def test_the_current_step_is_marked(real_run: FinishedRun) -> None:
    assert page(real_run, step=2).count('class="mark"') == 2
    assert 'class="mark"' not in page(real_run)


def test_chosen_networks_are_shown(make: SimpleNamespace) -> None:
    chosen = ([[True], [False], [False]], [[False], [True], [False]])
    maps = np.zeros((3, 1, 2, 2))
    steps = []
    for index in range(6):
        acting = chosen[int(index >= 4)]
        maps = np.array(acting, dtype=float)[:, :, None, None].repeat(2, 2).repeat(2, 3)
        steps.append(make.step(index, maps, chosen=acting, scan=index in (0, 4)))
    html = page(make.finished(make.report(["one", "two", "three"], steps)))
    text = text_in(html)
    assert "A one 1–4 (4 of 6)" in text
    assert "B two 5–6 (2 of 6)" in text
    assert "all were compared 1, 5 (2 of 6)" in text
    assert "Never chosen: three" in text
    (scrolled,) = [attributes for name, attributes in tags_in(html) if attributes.get("class") == "scroll"]
    assert (scrolled["tabindex"], scrolled["aria-label"]) == ("0", "Chosen networks")  # by keyboard, too
    cells = [
        (color, body.count("<rect")) for color, body in re.findall(r'<g style="fill:([^"]+)">(.*?)</g>', html)
    ]
    assert cells == [(network_color(0), 4), (network_color(1), 2), ("currentColor", 2)]


def test_no_choice_is_shown_where_all_networks_always_act(real_run: FinishedRun) -> None:
    assert "Chosen networks" not in page(real_run)


def test_a_thousand_steps_make_a_small_strip(make: SimpleNamespace) -> None:
    steps = [make.step(i, np.ones((2, 1, 1, 1)) / 2, chosen=[[True], [i < 500]]) for i in range(1000)]
    html = page(make.finished(make.report(["one", "two"], steps)))
    assert "B two 1–500 (500 of 1000)" in text_in(html)
    assert html.count("<rect") < 10


def test_a_large_pool_is_cut_to_the_loudest(make: SimpleNamespace) -> None:
    weights = np.arange(1, 31, dtype=float)
    maps = (weights / weights.sum())[:, None, None, None].repeat(4, 2).repeat(4, 3)
    maps[0, 0, 0, 0] = 0.1  # loudest at one place alone: one of "all others" there
    html = page(make.finished(make.report([f"n{i}" for i in range(30)], [make.step(0, maps)])))
    assert len(make.images_in(html)) == 13
    assert "18 more networks with less weight are not drawn." in text_in(html)
    assert "L n29 94%" in text_in(html)
    assert "+ all others 6%" in text_in(html)


@pytest.mark.parametrize("mode", ["merged", "base", "switch", "composite"])
def test_a_run_without_maps_still_shows(make: SimpleNamespace, mode: str) -> None:
    report = make.report(["one", "two"], [make.step(0, mode=mode), make.step(1, mode=mode)])
    for step in (0, 1):
        html = page(make.finished(report), step=step)
        assert "there is no map" in text_in(html)
        assert len(make.images_in(html)) == 1
        assert "10 rows" not in html


def test_a_step_without_maps_says_so(make: SimpleNamespace) -> None:
    report = make.report(["one", "two"], [make.step(0, mode="merged"), make.step(1, make.halves())])
    text = text_in(page(make.finished(report), step=1))
    assert "At this step nothing was composed place by place" in text
    assert "networks merged the usual way" in text


def test_a_run_without_passes_or_pictures_still_shows(make: SimpleNamespace) -> None:
    assert "Nothing was composed here" in text_in(page(make.finished(None)))
    html = page(make.finished(make.report(["a", "b"], [make.step(0, make.halves())]), pictures=()))
    assert len(make.images_in(html)) == 3
    assert "Nothing was composed here" in text_in(page(make.finished(None, pictures=())))


def test_the_pass_can_be_chosen(make: SimpleNamespace) -> None:
    first = make.report(["one", "two"], [make.step(0, make.halves())])
    second = make.report(["other", "two"], [make.step(0, make.halves()), make.step(1, make.halves())])
    run = make.finished(first)
    run = FinishedRun(run.prompt, "", run.pictures, (*run.passes, PassRecord(0, True, second)))
    assert "A one" in text_in(page(run))
    assert "A other" in text_in(page(run, sampling_pass=1))


def test_cost_settings_and_notes(make: SimpleNamespace) -> None:
    settings = Settings(enabled=True, temperature=0.05, patch_size=4)
    report = make.report(["a", "b"], [make.step(0, make.halves()), make.step(1, make.halves())], settings)
    report.warn("twice")
    text = text_in(page(make.finished(report, comments=("twice", "a comment"))))
    assert "2 steps" in re.sub(r"steps 2\b", "2 steps", text)
    assert "2.50 ×" in text
    assert "Temperature: 0.05 (default 0.25)" in text
    assert "Patch size: 4 (default 2)" in text
    assert "Gain:" not in text
    assert text.count("twice") == 1
    assert "a comment" in text


def test_another_language(make: SimpleNamespace) -> None:
    words = Words(MappingProxyType({"Who spoke where": "Wer <wo> sprach", "seed {seed}": "Startwert {seed}"}))
    run = make.finished(make.report(["a", "b"], [make.step(0, make.halves())]))
    html = page(run, words=words)
    assert "Wer &lt;wo&gt; sprach" in html
    assert "Startwert 7" in html
    assert "Who spoke where" not in html


def test_pages_without_a_run() -> None:
    assert "&lt;lora:" in nothing_yet(Words(), kept=True)
    assert "keeps no runs" in nothing_yet(Words(), kept=False)
    assert "Run 5 is no longer kept" in gone(5, Words())
