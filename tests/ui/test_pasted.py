"""What a pasted infotext says that the page can do, and what is left out."""

from __future__ import annotations

import dataclasses

import pytest

from loratorio_ext.server.words import Words
from loratorio_ext.ui.page.generator import Facts
from loratorio_ext.ui.page.pasted import read_pasted

FACTS = Facts("toy", ("Euler", "DDIM", "DPM++ 2M Karras"), 20, 4.0, (64, 64), 4)


def test_a_pasted_infotext_of_this_page() -> None:
    text = (
        "a star\nof two lines <lora:star:1>\nNegative prompt: dark, ugly\nSteps: 12, CFG scale: 5.5, "
        "Seed: 9, Size: 64x72, Sampler: DPM++ 2M Karras, LoRAtorio enabled: True, LoRAtorio top k: 2"
    )
    found = read_pasted(text, FACTS, Words())
    assert found.values == {
        "prompt": "a star\nof two lines <lora:star:1>",
        "negative": "dark, ugly",
        "steps": 12,
        "cfg": 5.5,
        "sampler": "DPM++ 2M Karras",
        "width": 64,
        "height": 72,
        "seed": 9,
        "strength": None,
        "hires_scale": 1.0,
        "hires_steps": 0,
        "hires_strength": None,
    }
    assert found.left_out == () and not found.started
    assert found.fields["LoRAtorio top k"] == "2"


def test_a_pasted_infotext_of_a_webui() -> None:
    found = read_pasted("x\nSteps: 12, Sampler: DPM++ 2M, Schedule type: Karras, Seed: 1", FACTS, Words())
    assert (found.values["sampler"], found.values["cfg"], found.left_out) == ("DPM++ 2M Karras", None, ())
    found = read_pasted("x\nSteps: 999, Sampler: Restart, CFG scale: 1e9, Size: 9999x1", FACTS, Words())
    assert found.left_out == ("Steps", "Sampler", "CFG scale", "Size")


def test_what_is_left_out_is_said_with_limits_and_what_is_kept_and_a_size_is_whole() -> None:
    now = {"steps": 20, "cfg": 4, "width": 64, "height": 64, "sampler": "Euler", "hires_scale": 1.0}
    text = (
        "x\nSteps: 999, Sampler: Restart, CFG scale: 99, Size: 72x65, Hires upscale: 9, "
        "LoRAtorio enabled: True, LoRAtorio temperature: -3, Foo: 1"
    )
    found = read_pasted(text, FACTS, Words(), now)
    assert (found.values["width"], found.values["height"]) == (None, None)
    assert found.left_out[:5] == (
        "Steps 999 (1 to 150; 20 kept)",
        "Sampler Restart (Euler kept)",
        "CFG scale 99 (1 to 30; 4 kept)",
        "Size 72x65 (multiples of 4 up to 2048; 64x64 kept)",
        "Hires upscale 9 (1 to 4; 1.0 kept)",
    )
    assert found.left_out[5].startswith("LoRAtorio temperature -3 (") and found.left_out[6] == "Foo"


@pytest.mark.parametrize(
    ("said", "strengths", "hires", "started", "left_out"),
    [
        ("Denoising strength: 0.4", (0.4, None), (1, 0), True, ()),
        (
            "Denoising strength: 0.4, Hires upscale: 1.5, Hires upscaler: Latent",
            (None, 0.4),
            (1.5, 0),
            False,
            (),
        ),
        (
            "Denoising strength: 0.4, Hires upscale: 2, Hires steps: 9, Hires upscaler: ESRGAN_4x",
            *((None, 0.4), (2, 9), False, ("Hires upscaler",)),
        ),
        (
            "Denoising strength: 0.4, Hires resize: 1024x1024, Hires steps: 999",
            *((None, None), (1, None), False, ("Denoising strength", "Hires resize", "Hires steps")),
        ),
        (
            "Denoising strength: 4, Hires upscale: 9",
            *((None, None), (None, 0), False, ("Denoising strength", "Hires upscale")),
        ),
    ],
)
def test_img2img_and_hires_fix_of_a_pasted_infotext(
    said: str, strengths: object, hires: object, started: bool, left_out: object
) -> None:
    found = read_pasted(f"x\nSteps: 12, Sampler: Euler, {said}", FACTS, Words())
    names = ("strength", "hires_strength", "hires_scale", "hires_steps")
    values = [found.values[name] for name in names]
    assert (tuple(values[:2]), tuple(values[2:]), found.started) == (strengths, hires, started)
    assert found.left_out == left_out


def test_what_another_tool_wrote_is_taken_over_or_named() -> None:
    resources = (
        '[{"type":"lora","weight":0.8,"modelVersionId":1},{"type":"checkpoint","modelVersionName":"v1, a"}]'
    )
    text = (
        "a cat\nin two lines <lora:a:1>\nNegative prompt: dark\nSteps: 12, Sampler: Euler a, Schedule type: "
        "Exponential, CFG scale: 5, Seed: 9, Size: 64x65, Model hash: abc, Model: other, "
        'Lora hashes: "a: 1, b: 2", '
        'Denoising strength: 0.5, Hires prompt: "a dog, a \\"cat\\"\\nnew line", ADetailer model: face.pt, '
        'ControlNet 0: "Module: canny, Weight: 1", LoRAtorio enabled: True, LoRAtorio temperature: -3, '
        f"LoRAtorio top k: 1, LoRAtorio new: 1, Version: v1.10.1, Civitai resources: {resources}, "
        "Civitai metadata: {}"
    )
    found = read_pasted(text, FACTS, Words())
    assert found.values["prompt"] == "a cat\nin two lines <lora:a:1>" and found.values["negative"] == "dark"
    assert (found.values["seed"], found.values["height"]) == (9, None)
    assert found.fields["Civitai resources"] == resources
    assert set(found.left_out) == {
        "Sampler",
        "Schedule type",
        "Size",
        "Model hash",
        "Model",
        "Denoising strength",
        "Hires prompt",
        "ADetailer model",
        "ControlNet 0",
        "LoRAtorio temperature -3 (0.0001 to 1000; 0.25 kept)",
        "LoRAtorio new",
        "Civitai resources",
        "Civitai metadata",
    }


@pytest.mark.parametrize("sign", ["\u2028", "\x85", "\x0c", "\x0b", "\x1c", "\r"])
def test_only_a_new_line_ends_a_line_of_an_infotext(sign: str) -> None:
    text = f"a cat\r\nin{sign}lines\nNegative prompt: dark\nSteps: 12, Sampler: Euler, Foo: a{sign}b, Seed: 9"
    found = read_pasted(text, FACTS, Words())
    said = [found.values[name] for name in ("prompt", "negative", "seed")]
    assert said == [f"a cat\nin{sign}lines", "dark", 9] and found.left_out == ("Foo",)


def test_pieces_of_an_infotext_that_count_for_nothing_are_named() -> None:
    text = f"x\nSteps: 12, lost, Sampler: DDIM, , Seed: 1, Sampler: Euler, {'very ' * 20}long, Seed: 1"
    found = read_pasted(text, FACTS, Words())
    assert found.values["sampler"] == "Euler"
    assert found.left_out == ("lost", "Sampler: DDIM", ("very " * 20)[:39] + "…")


@pytest.mark.parametrize(
    ("name", "stem", "said", "taken"),
    [
        ("dream-v1.safetensors", "dream-v1", "Dream-v1", True),
        ("dream-v1.safetensors", "dream-v1", "dream", False),
        ("the embedded model", "embedded-v1", "embedded-v1", True),
        ("toy", "", "TOY", True),
        ("toy", "", "", False),
    ],
)
def test_an_infotext_is_of_the_model_of_the_same_name(name: str, stem: str, said: str, taken: bool) -> None:
    facts = dataclasses.replace(FACTS, name=name, stem=stem)
    assert ("Model" not in read_pasted(f"x\nSteps: 12, Model: {said}", facts, Words()).left_out) == taken


def test_networks_whose_files_are_other_versions_are_named() -> None:
    facts = dataclasses.replace(FACTS, hash_of=lambda name: {"a": "0123456789ab", "b": "ba98"}.get(name, ""))
    text = 'x\nSteps: 12, Lora hashes: "a: 0123456789, b: 0123456789ab, c: 1, d, e: "'
    assert read_pasted(text, facts, Words()).left_out == ("b (another version)",)


@pytest.mark.parametrize("text", ["", "a cat", "Steps", "x" * 200_000, "\n\n"])
def test_what_is_no_infotext_is_said(text: str) -> None:
    with pytest.raises(ValueError, match="infotext"):
        read_pasted(text, FACTS, Words())
