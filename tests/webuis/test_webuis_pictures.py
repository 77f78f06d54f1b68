"""What comes out of a stand-in with LoRAtorio, against what the WebUI's own merging gives."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

ALONE = {"recenter": 0.0}
TAGS = "<lora:lin:1> <lora:te:1>"


@pytest.mark.parametrize("kind", ["lin", "te", "locon", "cp", "loha", "full", "norm", "dora"])
def test_one_network_alone_is_the_webui_s_own_picture(
    draw: Any, close: Any, as_merged: Any, kind: str
) -> None:
    merged, p = as_merged(f"a cat <lora:{kind}:0.8>")
    plain, _ = draw("a cat")
    assert not close(plain, merged)
    assert p.extra_generation_params == {"LoRAtorio enabled": "True", "LoRAtorio recenter": "0.0"}


@pytest.mark.parametrize("tag", ["te:0.5:1.5", "te:te=0:unet=1", "te:1:0", "lin:-0.7", "te:0:0.4"])
def test_strengths_of_a_tag(as_merged: Any, tag: str) -> None:
    as_merged(f"a cat <lora:{tag}>")


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
@pytest.mark.parametrize("options", [{}, {"skip_early_cond": 0.4}, {"persistent_cond_cache": False}])
def test_rows_and_conditions_are_laid_out_as_the_webui_s(
    webui: Any, as_merged: Any, layout: dict[str, Any], options: dict[str, Any], kind: str
) -> None:
    webui.use(webui.standin.new_model(kind=kind))
    vars(webui.opts).update(options)
    as_merged(**layout)


def test_dict_conditions_of_different_lengths(webui: Any, as_merged: Any) -> None:
    webui.use(webui.standin.new_model("xl", kind="sdxl"))
    as_merged("a cat AND a dog in a long sentence of more than eight words <lora:te:1>")


def test_a_copy_beside_a_network_changes_nothing(draw: Any, close: Any) -> None:
    alone, _ = draw("a cat <lora:lin:1>", {**ALONE, "gain": 0})
    twice, _ = draw("a cat <lora:lin:1> <lora:twin:1>", {**ALONE, "gain": 0})
    assert close(alone, twice)


def test_several_networks(draw: Any, close: Any) -> None:
    prompt = "a cat <lora:lin:1> <lora:te:1> <lora:locon:1>"
    settings = {"temperature": 0.05}
    merged, _ = draw(prompt)
    composed, p = draw(prompt, settings)
    again, _ = draw(prompt, settings)
    turned, _ = draw("a cat <lora:locon:1> <lora:te:1> <lora:lin:1>", settings)
    alone = [draw(f"a cat <lora:{name}:1>")[0] for name in ("lin", "te", "locon")]
    assert torch.equal(composed, again) and close(composed, turned)
    assert not any(close(composed, other) for other in (merged, *alone))
    assert p.comments == {}


@pytest.mark.parametrize("settings", [{"top_k": 1}, {"top_k": 1, "rescan": 2}])
def test_pictures_of_a_batch_are_the_single_ones(draw: Any, close: Any, settings: dict[str, int]) -> None:
    batch, _ = draw([f"a cat {TAGS}", f"a dog {TAGS}"], settings)
    second, _ = draw(f"a dog {TAGS}", settings)
    assert not close(batch[:1], second)
    # The batch's second picture has noise of its own, so only the first can be compared.
    first, _ = draw(f"a cat {TAGS}", settings)
    assert close(batch[:1], first)


def test_outside_the_window_networks_act_merged(webui: Any, draw: Any, close: Any) -> None:
    merged, _ = draw(f"a cat {TAGS}")
    webui.called.calls.clear()
    outside, _ = draw(f"a cat {TAGS}", {"start": 1.0})
    assert close(outside, merged)
    assert webui.called.calls == [2] * (8 if webui.server.merged_on_top else 4)
    partly, _ = draw(f"a cat {TAGS}", {"end": 0.5})
    assert not close(partly, merged)


def test_a_kept_network_stays_merged(draw: Any, close: Any) -> None:
    kept, _ = draw("a cat <lora:te:1>")
    composed, _ = draw("a cat <lora:te:1:compose=off> <lora:lin:0>", ALONE)
    assert close(composed, kept)


@pytest.mark.parametrize("argument", ["compose=off", " compose=off", "compose = off", "compose= OFF "])
def test_kept_however_it_is_written(draw: Any, close: Any, argument: str) -> None:
    kept, p = draw(f"a cat <lora:lin:1:{argument}> <lora:te:1>", ALONE)
    assert close(kept, draw("a cat <lora:lin:1> <lora:te:1>")[0]) and p.comments == {}


def test_a_slip_in_compose_is_said(draw: Any) -> None:
    _, p = draw("a cat <lora:lin:1:compose=of>", {})
    assert list(p.comments) == [
        "LoRAtorio: network 'lin': compose is 'of'; give on or off (1 or 0); left out"
    ]


def test_a_pool_by_the_trigger_words_of_the_prompt(webui: Any, draw: Any, close: Any) -> None:
    for name, text in (("lin", "red dog, hat"), ("lin2", "bird")):
        (file,) = webui.folder.rglob(f"{name}.safetensors")
        file.with_suffix(".json").write_text(json.dumps({"activation text": text}))
    pool = {"pool": "lin, lin2, te", "pool_by": "words"}
    asked, p = draw("a RED dog", pool)
    assert p.comments == {} and p.loratorio.passes[0].report.composed == ("lin",)
    assert close(asked, draw("a RED dog <lora:lin:1>", {})[0])
    for prompt, top_k, names in (
        ("a cat", 0, "lin lin2 te"),
        ("hat bird", 0, "lin lin2"),
        ("hat", 2, "lin te"),
    ):
        _, p = draw(prompt, {**pool, "top_k": top_k})
        assert p.loratorio.passes[0].report.composed == tuple(names.split())
    _, p = draw("a red dog", {"pool": "lin, lin2, te"})  # as before there were trigger words
    assert p.loratorio.passes[0].report.composed == ("lin", "lin2", "te")
    assert webui.server.triggers("lin").words == ("red dog", "hat")


def test_a_pool_is_as_if_it_were_in_the_prompt(draw: Any, close: Any) -> None:
    tagged, _ = draw("a cat <lora:lin:1> <lora:lin2:1> <lora:te:1>", {})
    pooled, p = draw("a cat <lora:lin:1>", {"pool": r"SUB\*, te, lin"})
    assert close(tagged, pooled) and p.comments == {}
    tagged, _ = draw("a cat <lora:te:1> <lora:lin2:1>", ALONE)
    pooled, p = draw("a cat <lora:te:1>", {**ALONE, "pool": "te, sub/*"})
    assert close(tagged, pooled) and p.comments == {}
    alone, _ = draw("a cat", {"pool": "te", **ALONE})
    assert close(alone, draw("a cat <lora:te:1>")[0])


def test_what_of_a_pool_takes_no_part_is_said(draw: Any) -> None:
    _, p = draw("a cat <lora:te:1>", {"pool": "nothing/*, broken"})
    assert sorted(text.split("; ")[0][:48] for text in p.comments) == [
        "LoRAtorio: 'nothing/*' in the pool is no network",
        "LoRAtorio: network 'broken' of the pool cannot b",
    ]


def test_a_pool_is_read_once(webui: Any, draw: Any) -> None:
    for _ in range(2):
        draw("a cat <lora:lin:1>", {"pool": r"te, SUB\*"}, hr_prompts=["a dog <lora:lin:1>"])
    read = webui.standin.read_files()  # Forge Neo: that of the prompt also to tell its patches apart
    assert (read.count("te"), read.count("lin2")) == (1, 1)


@pytest.mark.parametrize("kind", ["lin", "te"])
def test_a_pool_s_file_that_has_changed_is_read_anew(webui: Any, draw: Any, close: Any, kind: str) -> None:
    if (webui.name, kind) == ("a1111", "te"):
        pytest.skip("the WebUI itself goes by names where it merges into its text encoder")
    file = webui.folder / "twin.safetensors"
    tensors = load_file(webui.folder / f"{kind}.safetensors")
    save_file({name: -one if "alpha" in name else one for name, one in tensors.items()}, file)
    draw("a cat", {"pool": "twin"})
    file.write_bytes((webui.folder / f"{kind}.safetensors").read_bytes())
    os.utime(file, (1, 1))
    changed, _ = draw("a cat", {"pool": "twin", **ALONE})
    assert close(changed, draw(f"a cat <lora:{kind}:1>")[0])


def test_an_alias_names_the_same_file(webui: Any, draw: Any, close: Any) -> None:
    tensors = load_file(webui.folder / "lin.safetensors")
    save_file(tensors, webui.folder / "lin.safetensors", metadata={"ss_output_name": "my alias"})
    webui.networks.list_available_networks()
    wanted, _ = draw("a cat <lora:lin:1> <lora:te:1>", {})
    for pool in ("lin, te", "my alias,te"):
        picture, p = draw("a cat <lora:my alias:1>", {"pool": pool})
        assert close(picture, wanted) and p.comments == {}


def test_a_kept_network_is_not_in_the_pool_again(draw: Any, close: Any) -> None:
    prompt = "a cat <lora:te:0.25:compose=off> <lora:lin:1>"
    wanted, _ = draw(prompt, {})
    picture, p = draw(prompt, {"pool": "te, lin"})
    assert close(picture, wanted) and p.comments == {}


def test_a_network_that_fits_nothing_is_left_out_alone(webui: Any, draw: Any, close: Any) -> None:
    save_file({"lora_unet_other.lora_down.weight": torch.zeros(2, 3)}, webui.folder / "other.safetensors")
    webui.networks.list_available_networks()
    wanted, _ = draw("a cat <lora:lin:1>", {})
    picture, p = draw("a cat <lora:lin:1> <lora:other:1>", {})
    assert close(picture, wanted)
    assert ["'other'" in text and "it takes no part" in text for text in p.comments] == [True]
    plain, _ = draw("a cat")
    picture, p = draw("a cat <lora:other:1>", {})
    assert torch.equal(picture, plain)
    assert any("no network fits this model" in text for text in p.comments)
    assert p.extra_generation_params == {}
