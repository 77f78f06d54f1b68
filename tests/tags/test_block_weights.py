"""`lbw=`, as sd-webui-lora-block-weight's README writes it, and its steps."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from loratorio_ext.networks.arguments import OwnArguments, Window
from loratorio_ext.networks.blocks import ALL_BLOCKS, BlockWeights, block_of
from loratorio_ext.networks.prompt import parse_prompt

# As the extension writes its presets and the blocks of its lists (its README, "presets" and "block id").
PRESETS = """
INS:1,1,1,1,0,0,0,0,0,0,0,0,0,0,0,0,0
IND:1,0,0,0,1,1,1,0,0,0,0,0,0,0,0,0,0
INALL:1,1,1,1,1,1,1,0,0,0,0,0,0,0,0,0,0
MIDD:1,0,0,0,1,1,1,1,1,1,1,1,0,0,0,0,0
OUTD:1,0,0,0,0,0,0,0,1,1,1,1,0,0,0,0,0
OUTS:1,0,0,0,0,0,0,0,0,0,0,0,1,1,1,1,1
OUTALL:1,0,0,0,0,0,0,0,1,1,1,1,1,1,1,1,1
"""
IDS = {
    12: "BASE IN04 IN05 IN07 IN08 M00 OUT00 OUT01 OUT02 OUT03 OUT04 OUT05",
    17: "BASE IN01 IN02 IN04 IN05 IN07 IN08 M00 OUT03 OUT04 OUT05 OUT06 OUT07 OUT08 OUT09 OUT10 OUT11",
    20: "BASE IN00 IN01 IN02 IN03 IN04 IN05 IN06 IN07 IN08 M00 "
    "OUT00 OUT01 OUT02 OUT03 OUT04 OUT05 OUT06 OUT07 OUT08",
    26: "BASE IN00 IN01 IN02 IN03 IN04 IN05 IN06 IN07 IN08 IN09 IN10 IN11 M00 "
    "OUT00 OUT01 OUT02 OUT03 OUT04 OUT05 OUT06 OUT07 OUT08 OUT09 OUT10 OUT11",
}


@pytest.mark.parametrize("line", PRESETS.split())
def test_a_preset_is_its_list(line: str) -> None:
    name, numbers = line.split(":")
    assert BlockWeights.parse(name) == BlockWeights.parse(f" {name.lower()} ") == BlockWeights.parse(numbers)


@pytest.mark.parametrize(("name", "weight"), [("ALL", 1.0), ("NONE", 0.0), ("ALL0.5", 0.5)])
def test_all_and_none_mean_every_block(name: str, weight: float) -> None:
    assert BlockWeights.parse(name) == BlockWeights(dict.fromkeys(ALL_BLOCKS, weight))


@pytest.mark.parametrize("length", IDS)
@given(data=st.data())
def test_a_list_s_numbers_belong_to_its_blocks(length: int, data: st.DataObject) -> None:
    hundredths = data.draw(st.lists(st.integers(-1000, 1000), min_size=length, max_size=length))
    found = BlockWeights.parse(" ,".join(f"{one / 100:g}" for one in hundredths))
    given_weights = dict(zip(IDS[length].split(), (one / 100 for one in hundredths), strict=True))
    assert found.weights == pytest.approx({block: given_weights.get(block, 0) for block in ALL_BLOCKS})
    assert found.unnamed == set(ALL_BLOCKS) - set(given_weights)


@pytest.mark.parametrize(
    "text",
    ["", "1", "OUT", "1,2,3", ",".join("1" * 18), ",".join(["R"] * 17), ",".join(["99"] * 17), "1," * 5000],
)
def test_what_is_no_block_weight_is_said_and_left_out(text: str) -> None:
    with pytest.raises(ValueError, match="12, 17, 20 or 26 numbers"):
        BlockWeights.parse(text)
    prompt = parse_prompt(f"<lora:a:1:lbw={text}>")
    assert prompt.tags[0].own == OwnArguments() and prompt.lost == ()
    (problem,) = prompt.problems
    assert "give NONE, ALL, ALL0.5, INS, IND, INALL, MIDD, OUTD, OUTS, OUTALL, or 12" in problem


@pytest.mark.parametrize(
    ("key", "block"),
    [
        ("lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q", "IN04"),
        ("lora_unet_input_blocks_0_0", "IN00"),
        ("lora_unet_middle_block_1_proj_in", "M00"),
        ("lora_unet_output_blocks_11_0_in_layers_2", "OUT11"),
        ("lora_unet_output_blocks_12_0_in_layers_2", None),
        ("lora_unet_time_embed_0", None),
        ("lora_unet_down_blocks_0_attentions_0_proj_in", None),
        ("lora_te1_text_model_encoder_layers_0_mlp_fc1", "BASE"),
        ("lora_te2_text_model_encoder_layers_0_mlp_fc1", "BASE"),
    ],
)
def test_the_block_of_a_layer(key: str, block: str | None) -> None:
    assert block_of(key) == block


@pytest.mark.parametrize(
    ("argument", "acting"),
    [
        ("start=4", range(4, 10)),
        ("stop=4", range(4)),
        ("start=2:stop=4", range(2, 4)),
        ("step=3-7", range(3, 7)),
        ("step=3-7:start=1", range(3, 7)),
        ("start=0", range(10)),
        ("stop=99", range(10)),
        ("stop=1", range(1)),
        ("start=0:stop=1", range(1)),
        ("step=0-1", range(1)),
        ("stop=0", range(0)),
        ("steps=0-1 steps", range(1)),
    ],
)
def test_steps_by_count_as_the_extension_counts_them(argument: str, acting: range) -> None:
    """From evaluation ``start`` on, counted from 0, before evaluation ``stop`` (its README and its hook)."""
    prompt = parse_prompt(f"<lora:a:1:{argument}>")
    own = prompt.tags[0].own
    assert prompt.problems == () and Window.parse(own.steps) != Window()
    assert [Window.parse(own.steps).factor(index, 10) for index in range(10)] == [
        float(index in acting) for index in range(10)
    ]


@pytest.mark.parametrize(
    "argument", ["start=x", "stop=0.5", "start=2:stop=1", "step=5", "step=7-3", "step=3-", "start=-1"]
)
def test_steps_that_are_unclear_are_said(argument: str) -> None:
    prompt = parse_prompt(f"<lora:a:1:{argument}>")
    assert prompt.tags[0].own == OwnArguments()
    (problem,) = prompt.problems
    assert "another extension's; here a part of the steps is written steps=0-0.4" in problem


def test_our_own_steps_count_alone() -> None:
    prompt = parse_prompt("<lora:a:1:steps=0-0.5:start=3>")
    assert prompt.tags[0].own == OwnArguments(steps="0-0.5") and len(prompt.problems) == 1


def test_in_a_webui_blocks_are_another_extension_s() -> None:
    prompt = parse_prompt("<lora:a:1:lbw=OUTD>", weighs_blocks=False)
    assert prompt.tags[0].own == OwnArguments()
    assert "without it, the network acts in all its blocks" in prompt.problems[0]
