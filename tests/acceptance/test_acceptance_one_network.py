"""One network alone, without re-centring, is the picture that the WebUI makes by merging it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ALONE = {"recenter": 0.0, "looks": 0}
PLACED = {"recenter": 0.0, "looks": 1}  # its map is 1 everywhere
LONG = "a cat " + "with very many words " * 30

SAMPLERS = (
    ("Euler a", "Automatic"),
    ("DPM++ 2M", "Karras"),
    ("DPM++ SDE", "Karras"),
    ("DDIM", "Automatic"),
    ("UniPC", "Automatic"),
    ("Heun", "Automatic"),
)
STRENGTHS = ("1", "0.5", "-1", "0:1", "1:0", "te=0.3:unet=1.2")
HIRES = {
    "enable_hr": True,
    "hr_scale": 2,
    "denoising_strength": 0.6,
    # Only Forge knows these; without them its API ends in an error, and its hires pass is unguided.
    "hr_additional_modules": ["Use same choices"],
    "hr_cfg": 7,
}
SITUATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "AND": ("a cat AND a dog :0.7", {}),
    "prompt editing": ("a [cat:dog:0.4] in [red|blue]", {"sampler_name": "Heun"}),
    "over 75 tokens": (LONG, {}),
    "long negative prompt": ("a cat", {"negative_prompt": LONG}),
    "emphasis and BREAK": ("a (cat:1.3) BREAK a dog", {"negative_prompt": "(bad:1.2)"}),
    "CFG 1": ("a cat", {"cfg_scale": 1}),
    "NGMS": ("a cat", {"s_min_uncond": 3.0}),
    "skip early": ("a cat", {"override_settings": {"skip_early_cond": 0.3}}),
    "cond and uncond apart": ("a cat", {"override_settings": {"batch_cond_uncond": False}}),
    "padded": (LONG, {"override_settings": {"pad_cond_uncond": True}}),
    "clip skip": ("a cat", {"override_settings": {"CLIP_stop_at_last_layers": 2}}),
    "batch of 2, twice": ("a cat", {"batch_size": 2, "n_iter": 2}),
    "hires": ("a cat", HIRES),
}


def encoded(picture: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(picture.astype(np.uint8)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def compare(webui: Any, apart: Any, prompt: str, tag: str, **fields: Any) -> int:
    merged = webui.draw(f"{prompt} {tag}", **fields)
    composed = webui.draw(f"{prompt} {tag}", ALONE, **fields)
    without = webui.draw(prompt, **fields)
    placed = webui.draw(f"{prompt} {tag}", PLACED, **fields)
    assert composed.comments == placed.comments == ""
    apart(without, merged, "the network's effect")
    return max(apart(composed, merged), apart(placed, merged, "placed"))


@pytest.mark.parametrize("strength", STRENGTHS)
def test_strengths(webui: Any, each: list[str], apart: Any, levels: int, strength: str) -> None:
    for name in each:
        assert compare(webui, apart, "a cat", f"<lora:{name}:{strength}>") <= levels, name


@pytest.mark.parametrize(("sampler", "scheduler"), SAMPLERS)
def test_samplers(webui: Any, each: list[str], apart: Any, levels: int, sampler: str, scheduler: str) -> None:
    if sampler not in [one["name"] for one in webui.call("/sdapi/v1/samplers")]:
        pytest.skip("the WebUI has no such sampler")
    for name in each:
        fields = {"sampler_name": sampler, "scheduler": scheduler}
        assert compare(webui, apart, "a cat", f"<lora:{name}:1>", **fields) <= levels, name


@pytest.mark.parametrize("situation", SITUATIONS)
def test_situations(webui: Any, each: list[str], apart: Any, levels: int, situation: str) -> None:
    prompt, fields = SITUATIONS[situation]
    missing = fields.get("override_settings", {}).keys() - webui.call("/sdapi/v1/options").keys()
    if missing:
        pytest.skip(f"this WebUI has no option {', '.join(missing)}")
    for name in each:
        assert compare(webui, apart, prompt, f"<lora:{name}:1>", **fields) <= levels, name


def test_different_prompts_in_one_batch(webui: Any, names: list[str], apart: Any, levels: int) -> None:
    script = {
        "script_name": "prompt matrix",
        "script_args": [False, False, "positive", "comma", 0],
        "batch_size": 4,
    }
    prompt = f"a cat <lora:{names[0]}:1>|in a red box|at night, with many stars"
    merged = webui.draw(prompt, **script)
    assert apart(webui.draw(prompt, ALONE, **script), merged) <= levels


def test_hires_with_networks_of_its_own(webui: Any, names: list[str], apart: Any, levels: int) -> None:
    fields = {**HIRES, "hr_prompt": f"a dog <lora:{names[1]}:0.8>"}
    assert compare(webui, apart, "a cat", f"<lora:{names[0]}:1>", **fields) <= levels


@pytest.mark.parametrize("masked", [False, True])
def test_img2img_and_inpainting(webui: Any, each: list[str], apart: Any, levels: int, masked: bool) -> None:
    picture = webui.draw("a house").pictures[0]
    fields: dict[str, Any] = {"init_images": [encoded(picture)], "denoising_strength": 0.75}
    if masked:
        mask = np.zeros_like(picture)
        mask[webui.size // 4 : webui.size // 2] = 255
        fields |= {"mask": encoded(mask), "inpainting_fill": 1, "mask_blur": 2}
        # Without LoRAtorio too, Forge inpaints the same request otherwise when another kind came before it.
        webui.draw("a cat", **fields)
    for name in each:
        assert compare(webui, apart, "a cat", f"<lora:{name}:1>", **fields) <= levels, name


def test_a_copy_beside_a_network_or_in_its_other_half_changes_nothing(
    webui: Any, names: list[str], apart: Any, network_folder: Path, levels: int
) -> None:
    (original,) = network_folder.rglob(f"{names[0]}.safetensors")
    copy = network_folder / "loratorio_acceptance_copy.safetensors"
    copy.write_bytes(original.read_bytes())
    try:
        webui.call("/sdapi/v1/refresh-loras", {})
        one = f"a cat <lora:{names[0]}:1>"
        alone = webui.draw(one, ALONE)
        both = webui.draw(f"{one} <lora:{copy.stem}:1>", {**ALONE, "gain": 0})
        merged = webui.draw(f"a cat <lora:{names[0]}:0:1>")
        halves = webui.draw(
            f"a cat <lora:{names[0]}:0:1:at=left> <lora:{copy.stem}:0:1:at=right>", {**PLACED, "looks": 2}
        )
    finally:
        copy.unlink()
        webui.call("/sdapi/v1/refresh-loras", {})
    assert apart(both, alone) <= levels
    assert apart(halves, merged, "halves") <= levels


def test_a_kept_network_alone(webui: Any, names: list[str], apart: Callable[..., int], levels: int) -> None:
    kept, other = names[:2]
    merged = webui.draw(f"a cat <lora:{kept}:1>")
    composed = webui.draw(f"a cat <lora:{kept}:1:compose=off> <lora:{other}:0>", ALONE)
    assert apart(composed, merged) <= levels
