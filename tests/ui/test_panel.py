"""The panel: what its events answer, and what gradio is told of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from html import unescape
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import gradio as gr
import pytest
from hypothesis import given, strategies as st

from loratorio_ext.networks.pool import choose_pool
from loratorio_ext.server.history import History
from loratorio_ext.server.options import OPTIONS, option_key
from loratorio_ext.server.presets import OURS, Presets
from loratorio_ext.server.server import Server
from loratorio_ext.server.words import Words
from loratorio_ext.settings import SETTINGS, Settings
from loratorio_ext.ui import gradio_tools
from loratorio_ext.ui.gradio_tools import add_options
from loratorio_ext.ui.page.controls import accordion_with_box
from loratorio_ext.ui.panel.build import Panel, build_panel
from loratorio_ext.ui.panel.cost import PageInputs, TabInputs, cost_of
from loratorio_ext.ui.panel.pool import count_of_pool, picked, pool_choices, with_picked
from loratorio_ext.ui.panel.presets import preset_of

KNOWN = MappingProxyType({"star": "star", "moon": "moon", "night": "styles/night", "tint": "styles/tint"})


@pytest.fixture
def server(bench: Any, tmp_path: Path) -> Server:
    presets = Presets(tmp_path / "presets.json")
    return replace(bench.server, host="test", networks=lambda: KNOWN, presets=presets)


def built(server: Server, tab: str = "txt2img") -> tuple[Panel, gr.Blocks]:
    with gr.Blocks() as blocks:
        prompt = gr.Textbox(elem_id=f"{tab}_prompt")
        inputs = PageInputs(prompt=prompt, steps=gr.Slider(1, 150, 20, elem_id=f"{tab}_steps"))
        accordion = partial(accordion_with_box, words=Words())
        panel = build_panel(accordion, lambda name: f"{tab}_{name}", server, inputs)
    return panel, blocks


def values(**changes: object) -> list[object]:
    return list(Settings(**changes).to_dict().values())


def words_of(html: str) -> str:
    return re.sub(r"<style>.*?</style>|<[^>]+>", " ", html, flags=re.S)


def name_of(block: Any) -> str | None:
    """A block's id; HTML has it as a class."""
    return block.elem_id or next(iter(block.elem_classes or ()), None)


def answer_to(blocks: gr.Blocks, elem_id: str, event: str) -> tuple[Callable[..., Any], list[str | None]]:
    """The function behind an event, and the ids of what it changes."""
    number = next(number for number, block in blocks.blocks.items() if block.elem_id == elem_id)
    found = next(one for one in blocks.fns.values() if (number, event) in one.targets)
    return found.fn, [name_of(block) for block in found.outputs]


def test_the_box_starts_as_the_setting_does(server: Server) -> None:
    asked: list[bool] = []

    def accordion(value: bool, **named: Any) -> Any:
        asked.append(value)
        return accordion_with_box(value, **named, words=Words())

    with gr.Blocks():
        inputs = PageInputs(prompt=gr.Textbox(), steps=gr.Slider(1, 150, 20))
        build_panel(accordion, str, server, inputs)
    assert asked == [SETTINGS[0].default] == [False]


def test_every_control_keeps_the_cost_line_current(server: Server) -> None:
    panel, blocks = built(server)
    assert [one.value for one in panel.controls[1:]] == [one.default for one in SETTINGS[1:]]
    asking = {
        blocks.blocks[number].elem_id
        for function in blocks.fns.values()
        for number, event in function.targets
        if event == "change" and function.js == gradio_tools.asking("txt2img_estimate")
    }
    assert {*(f"txt2img_{one.name}" for one in SETTINGS), "txt2img_steps"} <= asking


def test_answers_cannot_overtake_as_one_event_has_them_all(server: Server) -> None:
    _, blocks = built(server)
    (to_cost,) = (one for one in blocks.fns.values() if "txt2img_cost" in map(name_of, one.outputs))
    assert [blocks.blocks[number].elem_id for number, _ in to_cost.targets] == ["txt2img_estimate"]
    # Nor must a request that fails keep all others waiting: gradio 6 tells that apart.
    begun = [one for one in blocks.fns.values() if "asked = 1;" in str(one.js)]
    assert len(begun) == 4 and to_cost in begun
    for event in begun:
        ends = [one for one in blocks.fns.values() if one.trigger_after == event._id]
        ends = [one for one in ends if "delete one.asked" in str(one.js)]
        assert [getattr(one, "trigger_only_on_failure", False) for one in ends] == [False, True][: len(ends)]
        assert len(ends) == 1 + hasattr(event, "trigger_only_on_failure")


def test_ids_differ_between_the_tabs(server: Server) -> None:
    tabs = [built(server, tab)[1].blocks.values() for tab in ("txt2img", "img2img")]
    ids = [elem_id for tab in tabs for block in tab if (elem_id := getattr(block, "elem_id", None))]
    assert len(ids) == len(set(ids)) > 2 * len(SETTINGS)


def test_the_cost_line_names_numbers_and_what_will_not_work(server: Server) -> None:
    def line(prompt: str, **changes: object) -> str:
        sent = [prompt, *values(looks=0, **changes)]
        return words_of(cost_of(server, PageInputs(prompt=object()), sent))

    on = line("<lora:star:1> <lora:moon:1:compose=off>", enabled=True)
    assert "1 network composed, 1 kept merged: 3 predictions a step instead of 2, about 1.5" in on
    assert "Off." not in on
    off = line("<lora:star:1> <lora:no&:1>")
    assert "Off. If switched on: 1 network composed" in off
    assert "no&amp;" in off and "no&:" not in off
    assert "No network to compose yet" in line("")
    misspelt = line("<lora:staar:1>", enabled=True)
    said = "'staar' is not among the networks; did you mean 'star'?"
    assert " ".join(unescape(misspelt).split()) == said


def test_an_unconditional_at_cfg_1_is_the_host_s_affair(server: Server) -> None:
    inputs = PageInputs(prompt=object(), cfg_scale=object())
    sent = ["<lora:star:1>", 1, *values(enabled=True, looks=0)]
    assert "2 predictions a step instead of 1" in words_of(cost_of(server, inputs, sent))
    always = replace(server, uncond_at_cfg_1=True)
    assert "3 predictions a step instead of 2" in words_of(cost_of(always, inputs, sent))
    split, prompt = replace(server, splits_at_and=True), "a <lora:star:1> AND b <lora:moon:1>"
    sent = [prompt, *values(enabled=True, looks=0)]
    assert "7 predictions a step instead of 3" in words_of(cost_of(split, PageInputs(prompt=object()), sent))
    assert server.guided("?") and server.guided(None) and server.guided(1.5) and not server.guided(1.0)


def test_what_is_in_the_way_is_said_first(server: Server) -> None:
    blocked = replace(server, obstacle=lambda: "the UNet is <replaced>")
    html = cost_of(blocked, PageInputs(prompt=object()), ["<lora:star:1>", *values()])
    assert "the UNet is &lt;replaced&gt;" in html
    assert "<replaced>" not in html
    assert "so the networks will act merged" in html and "composed:" not in html and "×" not in html


def test_what_cannot_always_be_composed_is_said_beside_the_cost(server: Server) -> None:
    partly = replace(server, remark=lambda: "videos are merged")
    html = cost_of(partly, PageInputs(prompt=object()), ["<lora:star:1>", *values()])
    assert "videos are merged" in html and "1 network composed" in html


def test_a_network_for_another_model_is_named_and_not_counted(server: Server) -> None:
    other = replace(server, misfit=lambda name: "Flux" if name == "moon" else None)
    said = [
        unescape(words_of(cost_of(other, PageInputs(prompt=object()), [prompt, *values()])))
        for prompt in ("<lora:star:1> <lora:moon:1>", "<lora:moon:1>")
    ]
    assert all("'moon' is for Flux and not for the model that is loaded" in one for one in said)
    assert "1 network composed" in said[0] and "composed" not in said[1]


@pytest.mark.parametrize("changes", [{"start": 0.8, "end": 0.2}, {"temperature": None}, {"pool": "x" * 3000}])
def test_values_that_do_not_go_together_are_named(server: Server, changes: dict[str, object]) -> None:
    own = [changes.get(one.name, one.default) for one in SETTINGS]
    said = words_of(cost_of(server, PageInputs(), own))
    assert any(name in said for name in changes)
    assert preset_of(server, own) is None


@pytest.mark.parametrize(
    ("passes", "said"),
    [
        ((None, 0.5, 1, 0), "4 of 20 steps and"),
        (("a.png", 0.5, 1, 0), "4 of 11 steps and"),
        (("a.png", 1, 1, 7), "4 of 20 steps and"),
        (
            (None, 0.5, 2, 0),
            "4 of 40 steps and 2 at the others, instead of 2, about 1.1&nbsp;×, with the 20 steps",
        ),
        (
            (None, 0.5, 1.5, 10),
            "4 of 30 steps and 2 at the others, instead of 2, about 1.2&nbsp;×, with the 10 steps",
        ),
        ((None, 0.5, "2", 10), "4 of 20 steps and"),
        (([], [], float("nan"), []), "4 of 20 steps and"),
    ],
)
def test_the_cost_counts_what_is_drawn_from_a_picture_and_the_hires_pass(
    server: Server, passes: tuple[object, ...], said: str
) -> None:
    inputs = PageInputs(*[object()] * 7)
    sent = ["<lora:star:1> <lora:moon:1>", 20, 7, *passes, *values(enabled=True, recenter=0.5)]
    assert said in words_of(cost_of(server, inputs, sent))


@given(st.lists(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20), max_size=24))
def test_whatever_the_page_sends_gets_an_answer(make: SimpleNamespace, sent: list[object]) -> None:
    kept = make.bench(History(lambda: (0, 0))).server
    server = replace(kept, networks=lambda: KNOWN, merged_on_top=True)
    inputs = PageInputs(*[object()] * 7)
    assert "loratorio-cost" in cost_of(server, inputs, sent)


def test_the_preset_is_the_one_whose_values_the_controls_have(server: Server) -> None:
    for name, preset in OURS.items():
        assert preset_of(server, values(**preset)) == name
        assert preset_of(server, values(**{**preset, "pool": "moon", "enabled": True})) == name
    assert preset_of(server, values(gain=0.9)) is None
    server.presets.save("Mine", Settings(gain=0.9))
    assert preset_of(server, values(gain=0.9)) == "Mine"


def test_a_preset_sets_its_controls_and_leaves_the_rest(server: Server) -> None:
    _, blocks = built(server)
    choose, changed = answer_to(blocks, "txt2img_preset", "input")
    found = dict(zip(changed, choose("Large pool"), strict=True))
    assert found["txt2img_top_k"]["value"] == 3
    assert found["txt2img_looks"]["value"] == 4
    assert "txt2img_pool" not in found and "txt2img_enabled" not in found
    assert all("value" not in update for update in choose("gone"))


def test_own_presets_are_saved_and_deleted_and_wrong_names_are_said(server: Server) -> None:
    _, blocks = built(server)
    save, _ = answer_to(blocks, "txt2img_save_preset", "click")
    delete, _ = answer_to(blocks, "txt2img_delete_preset", "click")
    said, chosen, names = save(" Mine ", *values(gain=0.9))
    assert names == chosen["choices"] == [*OURS, "Mine"] and chosen["value"] == "Mine"
    assert "Saved as Mine" in said["value"]
    assert "built-in" in save("Balanced", *values())[0]["value"]
    assert "1 to 60 characters" in save("", *values())[0]["value"]
    assert "&lt;b&gt;" in delete("<b>", *values())[0]["value"]
    said, chosen, names = delete("Mine", *values(gain=0.9))
    assert names == chosen["choices"] == list(OURS) and chosen["value"] is None


def test_the_list_gets_its_names_only_when_they_are_others(server: Server) -> None:
    _, blocks = built(server)
    answer, changed = answer_to(blocks, "txt2img_estimate", "click")
    place = changed.index("txt2img_preset")
    inputs = ([], None, "a cat", 20)
    first = answer(list(OURS), *inputs, *values())
    assert "choices" not in first[place] and first[place + 1] == list(OURS)
    server.presets.save("Of another page", Settings(gain=0.9))
    second = answer(first[place + 1], *inputs, *values())
    assert second[place]["choices"] == [*OURS, "Of another page"]
    assert "choices" not in answer(second[place + 1], *inputs, *values())[place]


def test_the_cost_stands_in_front_and_what_few_need_is_folded(server: Server) -> None:
    panel, blocks = built(server)

    def folds(block: Any) -> list[str]:
        found = []
        while (block := block.parent) is not None:
            found += [block.label] if isinstance(block, gr.Accordion) else []
        return found

    ids = [name_of(block) for block in blocks.blocks.values()]
    front = [one for one in panel.controls[1:] if not folds(one)]
    assert all(ids.index("txt2img_cost") < ids.index(one.elem_id) for one in panel.controls[1:])
    assert ids.index("txt2img_cost") < ids.index("txt2img_preset") < ids.index(front[0].elem_id)
    assert len(front) == 2
    assert {folds(one)[-1] for one in panel.controls[1:] if one not in front} == {"Advanced"}


def test_a_slider_offers_what_is_usual_and_shows_what_is_not(server: Server) -> None:
    _, blocks = built(server)
    sliders = {block.elem_id: block for block in blocks.blocks.values() if isinstance(block, gr.Slider)}
    for one in SETTINGS:
        if one.usable is not None:
            lowest, highest = sliders[f"txt2img_{one.name}"].minimum, sliders[f"txt2img_{one.name}"].maximum
            assert one.minimum <= lowest <= one.default <= highest <= one.maximum
    server.presets.save("Far", Settings(patch_size=64, temperature=1e-4, gain=0.5))
    choose, changed = answer_to(blocks, "txt2img_preset", "input")
    found = dict(zip(changed, choose("Far"), strict=True))
    assert found["txt2img_patch_size"]["value"] == found["txt2img_patch_size"]["maximum"] == 64
    assert found["txt2img_temperature"]["minimum"] == 1e-4
    assert "maximum" not in found["txt2img_gain"]


def test_the_picker_writes_the_pool_and_follows_it(server: Server) -> None:
    _, blocks = built(server)
    choose, changed = answer_to(blocks, "txt2img_pool_list", "input")
    assert changed == ["txt2img_pool"]
    assert choose(["styles/*", "moon"], "sta*, tint")["value"] == "sta*, styles/*, moon"
    assert choose(None, None)["value"] == ""
    assert "The pool has 1 network." in count_of_pool(server, "moon, moon")
    assert "The pool has 2 networks." in count_of_pool(server, "styles/*")
    assert "empty" in count_of_pool(server, None)


NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\\"), min_size=1, max_size=8
).filter(lambda name: name.strip(". ") != "")


@given(st.lists(st.tuples(st.lists(NAMES, max_size=2), NAMES), min_size=1, max_size=5), st.data())
def test_whatever_is_picked_is_allowed_and_means_at_least_what_it_names(
    files: list[tuple[list[str], str]], data: st.DataObject
) -> None:
    known = {name: "/".join([*folders, name]) for folders, name in files}
    choices = pool_choices(known)
    chosen = data.draw(st.lists(st.sampled_from(choices), unique=True, min_size=1))
    text = with_picked("", chosen, choices)
    assert Settings(pool=text).pool == text
    assert picked(text, choices) == chosen
    names, unknown = choose_pool(text, known)
    assert not unknown
    assert names


def test_components_of_the_tab_are_used_once() -> None:
    inputs = TabInputs()
    for tab in ("txt2img", "img2img"):
        for name in ("prompt", "steps", "cfg_scale", "batch_size", "width"):
            inputs.notice(f"{tab} {name}", f"{tab}_{name}", is_img2img=False)
    inputs.notice("x", None, is_img2img=False)
    assert inputs.take() == PageInputs("txt2img prompt", "txt2img steps", "txt2img cfg_scale")
    assert inputs.take() == PageInputs()


def test_every_option_is_on_the_settings_page() -> None:
    class Info:
        def __init__(self, default: object, label: str, component: Any, args: Any, section: Any) -> None:
            self.default, self.made = default, component(label=label, value=default, **args)

        def info(self, text: str) -> Info:
            self.text = text
            return self

    class Opts:
        def __init__(self) -> None:
            self.added: dict[str, Info] = {}

        def add_option(self, key: str, info: Info) -> None:
            self.added[key] = info

    opts = Opts()
    add_options(opts, Info)
    assert list(opts.added) == [option_key(one.name) for one in OPTIONS]
    for option, info in zip(OPTIONS, opts.added.values(), strict=True):
        assert (info.default, info.text) == (option.default, option.help)
